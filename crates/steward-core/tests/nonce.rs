// SPDX-License-Identifier: Apache-2.0

//! The nonce in the worked example of `docs/binding.md` is one that a Steward makes.

mod common;

use common::{Library, P256, POLICY, setup};
use evidence_pki::Time;
use steward_core::{Authority, NONCE_SIZE};
use zeroize::Zeroizing;

/// The third block of the example, without its spaces and newlines.
fn example() -> String {
    let page = include_str!("../../../docs/binding.md");
    let (_, example) = page.split_once("## Worked example").unwrap();
    let block = example.split("```").skip(1).step_by(2).nth(2).unwrap();
    block.split_once('\n').unwrap().1.split_whitespace().collect()
}

#[test]
fn the_worked_example_is_right() {
    for library in Library::ALL {
        let mut setup = setup(library, &P256, POLICY);
        setup.nonce_key = Some(Zeroizing::new(core::array::from_fn(|index| index as u8)));
        let authority = Authority::new(setup).unwrap();
        let made = authority.nonce(Time::from_unix(1_800_000_000), [0x5a; 16]).unwrap();
        assert_eq!(made.as_bytes().len(), NONCE_SIZE);
        let made: String = made.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(made, example());
    }
}
