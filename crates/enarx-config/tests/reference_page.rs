// SPDX-License-Identifier: Apache-2.0

//! Every example of the reference page is run: a ```` ```toml ```` block must be accepted, a
//! ```` ```toml refused ```` block must give exactly the text of the block that follows it.

use enarx_config::{Config, TEMPLATE};

const PAGE: &str = include_str!("../../../docs/enarx-toml.md");

#[test]
fn examples_are_accepted_and_mistakes_refused_as_shown() {
    let blocks = blocks();
    let (mut accepted, mut refused) = (0, 0);
    for (index, (kind, text)) in blocks.iter().enumerate() {
        match kind.as_str() {
            "toml" => {
                if let Err(error) = Config::parse(text, "Enarx.toml") {
                    panic!("{error}");
                }
                accepted += 1;
            }
            "toml refused" => {
                let error = Config::parse(text, "Enarx.toml").expect_err(text).to_string();
                let shown =
                    blocks.get(index + 1).map(|(kind, text)| (kind.as_str(), text.trim_end()));
                assert_eq!(shown, Some(("text", error.as_str())), "the page should show:\n{error}");
                refused += 1;
            }
            "text" | "console" => {}
            other => panic!("unknown kind of block: {other:?}"),
        }
    }
    assert!(accepted >= 8 && refused >= 5, "{accepted} accepted, {refused} refused");
}

#[test]
fn the_template_is_shown_as_it_is() {
    assert!(blocks().contains(&("toml".to_owned(), TEMPLATE.to_owned())));
}

/// The fenced blocks of the page: what follows the opening fence, and the text.
fn blocks() -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|line| *line != "```");
            blocks.push((kind.to_owned(), text.map(|line| format!("{line}\n")).collect()));
        }
    }
    blocks
}
