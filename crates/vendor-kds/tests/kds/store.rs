// SPDX-License-Identifier: Apache-2.0

//! What the cache lets in, and what it gives out.

use std::fs;

use evidence_claims::{SigningKey, kind};
use evidence_snp::SnpRefusal;
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::{DAY, NOW};
use vendor_kds::{Entry, IdentityError, KdsError, Piece, Table, What};

use crate::{identity, product, store};

const MILAN: Product = Product::Milan;

fn vcek() -> Piece {
    let amd = Amd::get();
    Piece::Vek(identity(MILAN, SigningKey::Vcek), amd.vcek(MILAN).sign(amd.ask_key()))
}

fn code(error: KdsError) -> &'static str {
    use evidence_claims::Reason;
    match error {
        KdsError::Refused { why, .. } => why.code(),
        KdsError::Identity(IdentityError::Other(what)) => what,
        KdsError::Older { .. } => "older",
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_not_genuine_or_another_s_is_refused() {
    let amd = Amd::get();
    let milan = identity(MILAN, SigningKey::Vcek);
    let (_folder, store) = store();
    store.put(&[vcek()], NOW).unwrap();
    let before = store.held(NOW).unwrap();
    let refused =
        |der: Vec<u8>| code(store.put(&[Piece::Vek(milan.clone(), der)], NOW).unwrap_err());
    // Garbage, half a certificate, an error page.
    let good = amd.vcek(MILAN).sign(amd.ask_key());
    for bad in [&b""[..], b"<html>", &good[..good.len() / 2]] {
        assert_eq!(refused(bad.to_vec()), "snp.vek-malformed");
    }
    // Genuine, but another's.
    let genoa = amd.vcek(Product::Genoa).sign(amd.ask_key());
    assert_eq!(refused(genoa), "it is for another product");
    let chip = amd.vcek(MILAN).hardware_id(&[9; 64]).sign(amd.ask_key());
    assert_eq!(refused(chip), "it is for another chip");
    let tcb = amd.vcek(MILAN).number(evidence_testkit::amd::kds::SNP, 3).sign(amd.ask_key());
    assert_eq!(refused(tcb), "it is for another TCB");
    let vlek = amd.vlek(MILAN).sign(amd.asvk_key());
    assert!(refused(vlek).starts_with("it is a VCEK where"));
    // Signed by somebody else.
    assert_eq!(refused(amd.vcek(MILAN).sign(Amd::impostor().ask_key())), "snp.vek-signature");
    let old = amd.vcek(MILAN).validity(NOW.minus(9 * DAY), NOW.minus(DAY)).sign(amd.ask_key());
    assert_eq!(refused(old), "snp.vek-expired");
    assert_eq!(store.held(NOW).unwrap(), before);
    // And what is a name on disk says nothing.
    assert_eq!(before.len(), 1);
    assert!(before[0].name.starts_with("vek/vcek-"), "{}", before[0].name);
    assert!(!before[0].revocation_checked);
}

#[test]
fn lists_are_those_of_the_product_and_never_go_back() {
    let amd = Amd::get();
    let (_folder, store) = store();
    let list = |from: u64, revoked: &[&[u8]]| {
        let der = amd.crl(MILAN, NOW.minus(from * DAY), NOW.plus(30 * DAY), revoked);
        Piece::List(product(MILAN), der)
    };
    let refused = |piece: Piece| code(store.put(&[piece], NOW).unwrap_err());
    assert_eq!(
        refused(Piece::List(product(MILAN), amd.crl_der(Product::Genoa))),
        "snp.crl-signature"
    );
    assert_eq!(
        refused(Piece::List(product(MILAN), Amd::impostor().crl_der(MILAN))),
        "snp.crl-signature"
    );
    assert_eq!(refused(Piece::List(product(MILAN), b"garbage".to_vec())), "snp.crl-malformed");
    let ended = amd.crl(MILAN, NOW.minus(9 * DAY), NOW.minus(DAY), &[]);
    assert_eq!(refused(Piece::List(product(MILAN), ended)), "snp.crl-expired");
    store.put(&[list(5, &[])], NOW).unwrap();
    assert_eq!(refused(list(6, &[])), "older");
    store.put(&[list(5, &[])], NOW).unwrap();
    store.put(&[list(4, &[])], NOW).unwrap();
    // When the newest one has ended, the old one is still older.
    let later = NOW.plus(31 * DAY);
    let old =
        Piece::List(product(MILAN), amd.crl(MILAN, NOW.minus(7 * DAY), NOW.plus(60 * DAY), &[]));
    assert_eq!(code(store.put(&[old], later).unwrap_err()), "older");
}

#[test]
fn a_revoked_authority_takes_its_keys_with_it() {
    let amd = Amd::get();
    let (_folder, store) = store();
    let milan = identity(MILAN, SigningKey::Vcek);
    store.put(&[vcek(), Piece::Authority(product(MILAN), amd.ask_der(MILAN))], NOW).unwrap();
    assert!(store.vek(&milan, NOW).unwrap().is_some());
    let list = amd.crl(MILAN, NOW.minus(DAY), NOW.plus(DAY), &[&amd.ask_serial(MILAN)]);
    let list = Piece::List(product(MILAN), list);
    // Together they are refused, and neither is stored.
    let both = store.put(&[vcek(), list.clone()], NOW).unwrap_err();
    assert!(matches!(both, KdsError::Refused { why: SnpRefusal::AskRevoked, .. }), "{both}");
    assert!(store.vek(&milan, NOW).unwrap().is_some());
    // The list alone is genuine; from then on the certificate does not count.
    store.put(&[list], NOW).unwrap();
    assert!(store.vek(&milan, NOW).unwrap().is_none());
    let all = store.endorsements(&milan, NOW).unwrap();
    assert_eq!((all.first(kind::VEK), all.first(kind::ASK)), (None, None));
    assert!(all.first(kind::CRL).is_some());
    let held = store.held(NOW).unwrap();
    let problem = |what| held.iter().find(|one| one.what == what).unwrap().problem.clone();
    assert!(problem(What::Vek).is_some() && problem(What::Authority).is_some());
    assert!(problem(What::List).is_none());
}

#[test]
fn what_somebody_put_there_does_not_count() {
    let amd = Amd::get();
    let (_folder, store) = store();
    let milan = identity(MILAN, SigningKey::Vcek);
    store.put(&[vcek(), Piece::List(product(MILAN), amd.crl_der(MILAN))], NOW).unwrap();
    let name = store.held(NOW).unwrap().into_iter().find(|one| one.what == What::Vek).unwrap().name;
    let path = store.cache().path(&name);
    let good = fs::read(&path).unwrap();
    // Truncated, another chip's under this one's name, and what never belonged here.
    let other = amd.vcek(MILAN).hardware_id(&[9; 64]).sign(amd.ask_key());
    for bad in [&good[..100], &other, b""] {
        fs::write(&path, bad).unwrap();
        assert_eq!(store.vek(&milan, NOW).unwrap(), None);
        let held = store.held(NOW).unwrap();
        assert!(held.iter().any(|one| one.name == name && one.problem.is_some()), "{held:?}");
    }
    fs::write(&path, &good).unwrap();
    fs::write(store.cache().path("notes.txt"), "mine").unwrap();
    assert_eq!(store.vek(&milan, NOW).unwrap(), Some(good));
    let held = store.held(NOW).unwrap();
    let foreign = held.iter().find(|one| one.what == What::Unknown).unwrap();
    assert_eq!(foreign.name, "notes.txt");
    assert!(foreign.problem.is_some());
    // Later, when the list has ended, the certificate stays and the list does not count.
    let later = NOW.plus(100 * DAY);
    let all = store.endorsements(&milan, later).unwrap();
    assert!(all.first(kind::VEK).is_some() && all.first(kind::CRL).is_none());
    let held = store.held(later).unwrap();
    let list = held.iter().find(|one| one.what == What::List).unwrap();
    assert_eq!(list.age.as_secs(), 100 * DAY);
    assert!(list.problem.as_ref().is_some_and(|why| why.contains("not valid after")), "{list:?}");
}

#[test]
fn vleks_come_out_of_a_table() {
    let amd = Amd::get();
    let (vlek, asvk, ark) =
        (amd.vlek(MILAN).sign(amd.asvk_key()), amd.asvk_der(MILAN), amd.ark_der(MILAN));
    let entries = vec![(Entry::Vlek, &vlek[..]), (Entry::Ask, &asvk), (Entry::Ark, &ark)];
    let block = Table { entries, unknown: 0 }.to_bytes();
    let table = Table::parse(&block).unwrap();
    let (_folder, store) = store();
    let identity = identity(MILAN, SigningKey::Vlek);
    let pieces = store.pieces_of_table(&table, &identity).unwrap();
    assert_eq!(pieces.len(), 2);
    store.put(&pieces, NOW).unwrap();
    assert_eq!(store.vek(&identity, NOW).unwrap(), Some(vlek.clone()));
    assert_eq!(store.endorsements(&identity, NOW).unwrap().iter().count(), 2);
    // And back again, for a guest.
    let made = store.table(&identity, NOW).unwrap();
    let made = Table::parse(&made).unwrap();
    assert_eq!(made.get(Entry::Vlek), Some(&vlek[..]));
    assert_eq!(made.get(Entry::Ask), Some(&asvk[..]));
    // A table of another key, or with another root, is of no use.
    let vcek = crate::identity(MILAN, SigningKey::Vcek);
    assert!(matches!(store.pieces_of_table(&table, &vcek), Err(KdsError::NotInTable("VCEK"))));
    let impostor = Amd::impostor().ark_der(MILAN);
    let entries = vec![(Entry::Vlek, &vlek[..]), (Entry::Ark, &impostor)];
    let table = Table { entries, unknown: 0 };
    assert!(matches!(store.pieces_of_table(&table, &identity), Err(KdsError::Root(_))));
}
