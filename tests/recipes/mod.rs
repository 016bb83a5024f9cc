//! Recipes of a document: blocks that begin with ```` ```sh recipe=NAME ````, each line a command with its exit code behind `#`.
#![allow(dead_code)]

/// A line of a recipe, and the exit code that it ends with.
pub type Step = (String, i32);

/// One block.
pub struct Recipe {
    pub name: String,
    /// A word behind the name, such as `root`.
    pub more: String,
    pub steps: Vec<Step>,
}

/// All recipes of a document, in its order.
pub fn recipes(document: &str) -> Vec<Recipe> {
    let mut recipes: Vec<Recipe> = Vec::new();
    for block in document.split("\n```sh recipe=").skip(1) {
        let (head, rest) = block.split_once('\n').unwrap();
        let (name, more) = head.split_once(' ').unwrap_or((head, ""));
        let body = &rest[..rest.find("\n```").unwrap() + 1];
        let steps = body
            .lines()
            .map(|line| {
                let (command, code) =
                    line.rsplit_once('#').unwrap_or_else(|| panic!("{name}: {line}: no exit code"));
                (command.trim().to_owned(), code.trim().parse().unwrap_or_else(|_| panic!("{name}: {line}")))
            })
            .collect::<Vec<Step>>();
        assert!(!steps.is_empty(), "{name} is empty");
        assert!(recipes.iter().all(|recipe| recipe.name != name), "{name} is there twice");
        recipes.push(Recipe { name: name.to_owned(), more: more.to_owned(), steps });
    }
    assert!(!recipes.is_empty(), "there are no recipes");
    recipes
}
