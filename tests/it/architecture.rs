//! The layering of the design, kept by reading the sources: who may depend on whom, and the habits that no lint knows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Longest file, without its tests.
const FILE_LINES_MAX: usize = 400;

/// A layer and what it may name: `crate::…` modules of its own crate, and modules of the actors' crate.
struct Layer {
    folder: &'static str,
    may_use: &'static [&'static str],
    may_use_of_actors: &'static [&'static str],
}

/// main -> app -> {http, web, storage, oauth, vault, config, telemetry}; adapters never each other.
const LAYERS: &[Layer] = &[
    Layer {
        folder: "src/http",
        may_use: &["http", "web", "jose"],
        may_use_of_actors: &["handle", "domain"],
    },
    Layer {
        folder: "src/web",
        may_use: &["http", "web"],
        may_use_of_actors: &["handle", "domain"],
    },
    Layer {
        folder: "src/storage",
        may_use: &["storage"],
        may_use_of_actors: &["ports", "domain"],
    },
    Layer {
        folder: "src/oauth",
        may_use: &["oauth", "jose"],
        may_use_of_actors: &["ports", "domain"],
    },
    Layer {
        folder: "src/jose",
        may_use: &["jose"],
        may_use_of_actors: &[],
    },
    Layer {
        folder: "src/vault",
        may_use: &["vault"],
        may_use_of_actors: &["ports", "domain"],
    },
    Layer {
        folder: "src/spool",
        may_use: &["spool"],
        may_use_of_actors: &["ports", "domain"],
    },
    Layer {
        folder: "src/config",
        may_use: &["config"],
        may_use_of_actors: &["domain"],
    },
    // Two independent readings of the facts: the simulator judges the engine.
    Layer {
        folder: "src/dev/simulator",
        may_use: &["dev"],
        may_use_of_actors: &[],
    },
    Layer {
        folder: "src/dev/postgres",
        may_use: &["dev"],
        may_use_of_actors: &[],
    },
    Layer {
        folder: "actors/src/domain",
        may_use: &["domain"],
        may_use_of_actors: &[],
    },
    Layer {
        folder: "actors/src/ports",
        may_use: &["domain", "ports"],
        may_use_of_actors: &[],
    },
];

/// What the actors must not be able to see.
const FORBIDDEN_IN_ACTORS: &[&str] = &[
    "warp",
    "hyper",
    "http",
    "reqwest",
    "tokio-postgres",
    "deadpool-postgres",
    "oauth2",
    "ring",
    "rustls",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "misc"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(
        !found.is_empty(),
        "{folder} holds no sources: the rule about it checks nothing"
    );
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    let relative = path.strip_prefix(root()).unwrap();
    let in_test_folder = relative.components().any(|part| {
        matches!(
            part.as_os_str().to_str(),
            Some("tests" | "testing" | "simulation")
        )
    });
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    in_test_folder || stem == "tests" || stem == "testing" || stem.ends_with("_tests")
}

/// The source without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first segments named after `prefix`, in paths and in `use prefix::{a, b}`.
fn named_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(identifier(rest))),
            Some(group) => found.extend(group_heads(group)),
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The heads of a `{a, b::{c, d}, e}` group, given what follows its brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut head) = (Vec::new(), 0_usize, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut head)),
            c if depth == 0 => head.push(c),
            _ => {}
        }
    }
    heads.push(head);
    heads
        .iter()
        .map(|head| identifier(head.trim()))
        .filter(|head| !head.is_empty())
        .collect()
}

#[test]
fn no_layer_reaches_where_it_must_not() {
    let mut broken = Vec::new();
    for layer in LAYERS {
        for path in sources(layer.folder).iter().filter(|path| !is_test(path)) {
            let code = code(path);
            let is_type = |name: &String| name.starts_with(char::is_uppercase) || name.is_empty();
            let own = named_after(&code, "crate::")
                .into_iter()
                .map(|name| (name, layer.may_use, "crate"));
            let actors = named_after(&code, "oauth_manager_actors::")
                .into_iter()
                .map(|name| (name, layer.may_use_of_actors, "oauth_manager_actors"));
            for (name, allowed, of) in own.chain(actors) {
                if !is_type(&name) && !allowed.contains(&name.as_str()) {
                    broken.push(format!(
                        "{} uses {of}::{name}",
                        path.strip_prefix(root()).unwrap().display()
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_actors_cannot_see_web_sql_or_http() {
    let manifest = fs::read_to_string(root().join("actors/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let dependencies: Vec<&String> = manifest["dependencies"].as_table().unwrap().keys().collect();
    assert!(
        dependencies.iter().any(|name| *name == "ractor"),
        "the manifest is read"
    );
    let forbidden: Vec<_> = dependencies
        .iter()
        .filter(|name| FORBIDDEN_IN_ACTORS.contains(&name.as_str()))
        .collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

#[test]
fn every_actor_says_what_becomes_of_its_children() {
    // ractor's default ends the parent with any child, even one that ended well.
    let mut actors = 0;
    for path in sources("actors/src") {
        let code = code(&path);
        let implementations = code.matches("impl Actor for ").count();
        actors += implementations;
        let answers = code.matches("async fn handle_supervisor_evt").count();
        assert_eq!(implementations, answers, "{}", path.display());
    }
    assert!(
        actors >= 6,
        "Root, AuditSink, ProviderSupervisor, Integration, Registry, Scheduler: found {actors}"
    );
}

#[test]
fn files_stay_small_and_are_named_for_what_they_hold() {
    let mut broken = Vec::new();
    for folder in ["src", "actors/src"] {
        for path in sources(folder) {
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            if EMPTY_NAMES.contains(&stem) {
                broken.push(format!("{shown}: a name that says nothing"));
            }
            let text = fs::read_to_string(&path).unwrap();
            let lines = text
                .split("#[cfg(test)]\nmod ")
                .next()
                .unwrap_or_default()
                .lines()
                .count();
            if !is_test(&path) && lines > FILE_LINES_MAX {
                broken.push(format!("{shown}: {lines} lines"));
            }
            if !text.starts_with("//!") {
                broken.push(format!("{shown}: does not say what it holds"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_fault_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let mut all_sources = String::new();
    for folder in ["src", "actors/src", "tests/it"] {
        for path in sources(folder) {
            all_sources.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let mut named = 0;
    for row in rows.filter(|row| *row != "| input | tests |") {
        let tests = row.rsplit(" | ").next().unwrap_or_default();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            named += 1;
            assert!(
                all_sources.contains(&format!("fn {name}(")),
                "no such test: {name}"
            );
        }
    }
    assert!(named > 50, "the table is not read: {named}");
}
