// SPDX-License-Identifier: Apache-2.0

//! `steward policy check` and `steward policy schema`.

use std::path::Path;

use command_line::{Style, files, hex, print, print_json};
use evidence_crypto::AwsLc;
use serde_json::json;
use steward_policy::Policy;

use crate::cli::PolicyCommand;
use crate::exit::{Code, Failure};

pub(crate) fn run(command: &PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check { file, json } => check(file, *json),
        PolicyCommand::Schema => print(steward_policy::SCHEMA),
    }
}

fn check(file: &Path, json: bool) -> Result<(), Failure> {
    let policy = read(file)?;
    let digest = hex(&policy.digest(&AwsLc));
    let sentences = policy.explain();
    if json {
        let platforms = policy.platforms();
        let platforms: Vec<_> = platforms.iter().map(|platform| platform.as_str()).collect();
        return print_json(&json!({
            "digest": digest,
            "platforms": platforms,
            "development": is_development(&policy),
            "explanation": sentences,
        }));
    }
    let style = Style::stdout();
    let mut text = String::new();
    for sentence in sentences {
        text += &match sentence.strip_prefix("Warning:") {
            Some(rest) => format!("{}{rest}\n", style.yellow("Warning:")),
            None => sentence + "\n",
        };
    }
    if is_development(&policy) {
        text += &format!(
            "{} `steward serve` takes this policy only with --development, and its certificates for \
             development evidence prove nothing.\n",
            style.yellow("Warning:")
        );
    }
    print(&format!("{text}\nDigest: {digest}\n"))
}

/// Reads a policy; every fault is told with its place.
pub(crate) fn read(path: &Path) -> Result<Policy, Failure> {
    let text = files::read_text(path)?;
    Policy::parse(&text)
        .map_err(|error| Failure::msg(Code::Usage, error.in_file(&path.display().to_string())))
}

/// Whether it lets in evidence that proves nothing.
pub(crate) fn is_development(policy: &Policy) -> bool {
    !policy.development_roots().is_empty()
}
