//! From a password to a key: Argon2id (RFC 9106), with bounds on the parameters that a slot may ask for.

use argon2::{Algorithm, Argon2, Params, Version};

use super::Error;
use crate::format::limits::{KDF_MEMORY_MAX, KDF_MEMORY_MIN};

/// Argon2id's cost: memory in KiB, passes over it, lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub memory: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl Default for Cost {
    /// 128 MiB, 3 passes, 4 lanes: about half a second.
    fn default() -> Cost {
        Cost { memory: 128 << 10, passes: 3, lanes: 4 }
    }
}

impl Cost {
    /// Refuses what would weaken the slot or exhaust the reader.
    pub fn check(&self) -> Result<(), Error> {
        let sound = (KDF_MEMORY_MIN..=KDF_MEMORY_MAX).contains(&self.memory)
            && (1..=16).contains(&self.passes)
            && (1..=16).contains(&self.lanes);
        if sound {
            return Ok(());
        }
        Err(Error::Parameters(format!(
            "memory {} KiB, {} passes, {} lanes",
            self.memory, self.passes, self.lanes
        )))
    }
}

/// The key-encryption key of a password and salt.
pub fn derive(password: &[u8], salt: &[u8; 32], cost: Cost) -> Result<[u8; 32], Error> {
    cost.check()?;
    let parameters = Params::new(cost.memory, cost.passes, cost.lanes, Some(32))
        .map_err(|error| Error::Parameters(error.to_string()))?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(password, salt, &mut key)
        .map_err(|error| Error::Parameters(error.to_string()))?;
    Ok(key)
}
