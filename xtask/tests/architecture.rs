// SPDX-License-Identifier: Apache-2.0

//! Compares the map of crates in `ARCHITECTURE.md` with what Cargo knows, so that it stays a map.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crates in the order of the table, each with those of ours that it uses.
type Map = Vec<(String, BTreeSet<String>)>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The names in backquotes.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn documented() -> Map {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = page.split_once("<!-- crates:begin -->").unwrap();
    let (table, _) = rest.split_once("<!-- crates:end -->").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (names(cells[1]).pop_first().unwrap(), names(cells[3]))
    })
    .collect()
}

fn known() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<String> = packages.iter().map(|package| text(&package["name"])).collect();
    packages
        .iter()
        .map(|package| {
            let used = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                // Neither for tests nor for build scripts.
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(&dependency["name"]))
                .filter(|name| ours.contains(name))
                .collect();
            (text(&package["name"]), used)
        })
        .filter(|(name, _)| name != "xtask")
        .collect()
}

#[test]
fn the_map_of_crates_is_true() {
    let documented: BTreeMap<_, _> = documented().into_iter().collect();
    assert_eq!(documented, known());
}

#[test]
fn dependencies_point_down_the_map() {
    let mut above = BTreeSet::new();
    for (name, used) in documented() {
        above.insert(name.clone());
        let up: Vec<_> = used.intersection(&above).collect();
        assert!(up.is_empty(), "{name} uses what stands above it: {up:?}");
    }
}
