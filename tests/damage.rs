//! Damage in every kind of object, of every form: `check` names it, `restore` gives back everything that it does not touch, and the next
//! backup of the same source makes the latest snapshot whole again.

mod damage {
    pub mod cache;
    pub mod cases;
    pub mod packs;
    pub mod small;
    pub mod world;
}
mod program;

use damage::{cases, world};
