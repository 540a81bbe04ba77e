// SPDX-License-Identifier: Apache-2.0

//! The bag of endorsements keeps its bounds, and what is refused leaves it as it was.

use evidence_claims::{Endorsements, EndorsementsError, kind};

#[test]
fn names_of_kinds_have_a_bound() {
    let mut bag = Endorsements::new();
    bag.push("k".repeat(Endorsements::MAX_KIND), b"one".as_slice()).unwrap();
    let refused = bag.push("k".repeat(Endorsements::MAX_KIND + 1), b"two".as_slice());
    assert_eq!(refused, Err(EndorsementsError::Kind));
    assert_eq!(bag.iter().count(), 1);
    assert_eq!(
        EndorsementsError::Kind.to_string(),
        "the name of an endorsement's kind has more than 64 bytes"
    );
}

#[test]
fn endorsements_have_a_bound_together() {
    let mut bag = Endorsements::new();
    bag.push(kind::CRL, vec![0; Endorsements::MAX_SIZE - 1]).unwrap();
    assert_eq!(bag.push(kind::CRL, vec![0; 2]), Err(EndorsementsError::Size));
    // What was refused does not count.
    bag.push(kind::VEK, vec![7]).unwrap();
    assert_eq!(bag.push(kind::CRL, vec![0; 1]), Err(EndorsementsError::Size));
    assert_eq!(bag.first(kind::VEK), Some(&[7][..]));
    assert_eq!(
        bag.all(kind::CRL).map(<[u8]>::len).collect::<Vec<_>>(),
        [Endorsements::MAX_SIZE - 1]
    );
}

#[test]
fn there_are_so_many_endorsements_and_no_more() {
    let mut bag = Endorsements::new();
    for number in 0..Endorsements::MAX_COUNT {
        bag.push(kind::CRL, vec![u8::try_from(number).unwrap()]).unwrap();
    }
    // Empty ones are counted, too.
    assert_eq!(bag.push(kind::CRL, vec![]), Err(EndorsementsError::Count));
    assert_eq!(bag.all(kind::CRL).count(), Endorsements::MAX_COUNT);
    assert_eq!(bag.first(kind::CRL), Some(&[0][..]));
}
