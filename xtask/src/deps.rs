//! Compares the workspace's dependencies with the directions that ARCHITECTURE.md draws.

use anyhow::{Result, bail};

use crate::workspace::{Package, Workspace};

/// What a package of the workspace may depend on, whether for its build, its tests or itself.
struct Rule {
    package: &'static str,
    /// Packages of the workspace.
    ours: &'static [&'static str],
    /// Whether it is a library for other people's programs, which must not be handed our command line's dependencies.
    for_others: ForOthers,
}

#[derive(PartialEq)]
enum ForOthers {
    Yes,
    No,
}

/// The table. A package that is not in it is refused, so that nobody adds one without deciding.
const RULES: &[Rule] = &[
    Rule { package: "rustbox-core", ours: &[], for_others: ForOthers::Yes },
    Rule { package: "rustbox-cgroup", ours: &["rustbox-core"], for_others: ForOthers::Yes },
    Rule { package: "rustbox-ns", ours: &["rustbox-core"], for_others: ForOthers::Yes },
    Rule { package: "rustbox-audit", ours: &["rustbox-core"], for_others: ForOthers::Yes },
    Rule {
        package: "rustbox-supervisor",
        ours: &["rustbox-core", "rustbox-audit", "rustbox-cgroup", "rustbox-ns"],
        for_others: ForOthers::Yes,
    },
    Rule {
        package: "rustbox-health",
        ours: &["rustbox-core", "rustbox-audit", "rustbox-cgroup", "rustbox-supervisor"],
        for_others: ForOthers::Yes,
    },
    Rule {
        package: "rustbox-cli",
        ours: &[
            "rustbox-core",
            "rustbox-audit",
            "rustbox-cgroup",
            "rustbox-ns",
            "rustbox-supervisor",
            "rustbox-health",
        ],
        for_others: ForOthers::No,
    },
    Rule {
        package: "rustbox-tests",
        ours: &[
            "rustbox-core",
            "rustbox-audit",
            "rustbox-cgroup",
            "rustbox-ns",
            "rustbox-supervisor",
            "rustbox-health",
            "rustbox-cli",
            "rustbox-model",
        ],
        for_others: ForOthers::No,
    },
    Rule { package: "rustbox-model", ours: &[], for_others: ForOthers::No },
    Rule { package: "xtask", ours: &[], for_others: ForOthers::No },
];

/// What a library never brings along: a command line, a subscriber, an error type without variants.
const NOT_FOR_LIBRARIES: &[&str] = &["clap", "tracing-subscriber", "anyhow"];
/// An error type without variants.
const ONLY_FOR_CHORES: &str = "anyhow";
/// Who may use it: nobody matches on what these say. The tests' package has the program that `cargo xtask proof` runs.
const CHORES: &[&str] = &["xtask", "rustbox-tests"];

/// Fails with every dependency that the table does not have.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let wrong = violations(&workspace.packages);
    if !wrong.is_empty() {
        bail!("dependencies against the direction of the architecture:\n  {}", wrong.join("\n  "));
    }
    let edges: usize = workspace.packages.iter().map(|p| ours(p, &workspace.packages).count()).sum();
    println!("{} packages, {edges} dependencies between them, all in the drawn direction", workspace.packages.len());
    Ok(())
}

fn ours<'a>(package: &'a Package, all: &'a [Package]) -> impl Iterator<Item = &'a str> {
    let names = package.dependencies.iter().map(|d| d.name.as_str());
    names.filter(move |name| all.iter().any(|p| p.name == *name))
}

fn violations(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let Some(rule) = RULES.iter().find(|rule| rule.package == package.name) else {
            wrong.push(format!("{} is not in the table of xtask/src/deps.rs", package.name));
            continue;
        };
        let against = ours(package, packages).filter(|name| !rule.ours.contains(name));
        wrong.extend(against.map(|name| format!("{} -> {name}", package.name)));
        let brought_along = package.dependencies.iter().map(|d| d.name.as_str()).filter(|name| {
            (rule.for_others == ForOthers::Yes && NOT_FOR_LIBRARIES.contains(name))
                || (!CHORES.contains(&rule.package) && *name == ONLY_FOR_CHORES)
        });
        wrong.extend(brought_along.map(|name| format!("{} -> {name}, which is not for a library", package.name)));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|name| Dependency { name: (*name).to_owned() }).collect();
        Package { name: name.to_owned(), dependencies, targets: Vec::new() }
    }

    #[test]
    fn the_drawn_directions_pass() {
        let packages = [
            package("rustbox-core", &["serde"]),
            package("rustbox-ns", &["rustbox-core", "libc"]),
            package("rustbox-supervisor", &["rustbox-core", "rustbox-ns"]),
            package("rustbox-cli", &["rustbox-core", "rustbox-supervisor", "clap", "tracing-subscriber"]),
            package("xtask", &["anyhow", "clap"]),
        ];
        assert_eq!(violations(&packages), Vec::<String>::new());
    }

    #[test]
    fn an_edge_upwards_or_sideways_is_named() {
        let packages = [
            package("rustbox-core", &["rustbox-ns"]),
            package("rustbox-cgroup", &["rustbox-core", "rustbox-ns"]),
            package("rustbox-ns", &["rustbox-core"]),
        ];
        assert_eq!(violations(&packages), ["rustbox-core -> rustbox-ns", "rustbox-cgroup -> rustbox-ns"]);
    }

    #[test]
    fn a_chore_that_could_spawn_boxes_is_named() {
        let packages = [package("rustbox-supervisor", &[]), package("xtask", &["rustbox-supervisor"])];
        assert_eq!(violations(&packages), ["xtask -> rustbox-supervisor"]);
    }

    #[test]
    fn a_library_with_a_command_line_is_named() {
        let packages = [package("rustbox-ns", &["clap"]), package("rustbox-cli", &["anyhow"])];
        assert_eq!(violations(&packages).len(), 2);
        assert!(violations(&packages)[0].starts_with("rustbox-ns -> clap"));
    }

    #[test]
    fn a_package_without_a_rule_is_named() {
        assert_eq!(violations(&[package("rustbox-new", &[])]).len(), 1);
    }
}
