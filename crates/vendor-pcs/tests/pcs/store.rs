// SPDX-License-Identifier: Apache-2.0

//! What the cache lets in, and what it gives out.

use std::fs;

use evidence_claims::kind;
use evidence_testkit::intel::{Authority, Document, Intel, PckBuilder};
use evidence_testkit::{DAY, NOW};
use vendor_pcs::{PcsError, Piece, What};

use crate::{KIND, ca, pieces, platform, store};

fn tcb_info(document: &Document) -> Piece {
    let intel = Intel::get();
    let collateral = intel.collateral(KIND).with_tcb_info(intel, &document.text());
    Piece::TcbInfo {
        fmspc: PckBuilder::FMSPC,
        body: collateral.tcb_info_response().into_bytes(),
        chain: collateral.tcb_info_issuer_chain.into_bytes(),
    }
}

fn pck_list(intel: &Intel, from: u64, revoked: &[u8]) -> Piece {
    let authority = KIND.authority();
    Piece::PckList {
        ca: ca(authority),
        list: intel
            .pck_crl(authority, NOW.minus(from * DAY), NOW.plus(20 * DAY))
            .revoke(revoked)
            .sign(intel.pck_ca_key(authority)),
        chain: intel.pck_ca_chain(authority).into_bytes(),
    }
}

fn pck(builder: &PckBuilder) -> Piece {
    let chain = Intel::get().pck_chain(KIND.authority(), builder).into_bytes();
    Piece::Pck { platform: Some(platform()), chain }
}

fn why(result: Result<Vec<vendor_pcs::Held>, PcsError>) -> String {
    use evidence_claims::Reason;
    match result.unwrap_err() {
        PcsError::Refused { why, .. } => why.code().to_owned(),
        PcsError::Older { .. } => "older".into(),
        PcsError::Other(what) => what,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_not_genuine_or_another_s_is_refused() {
    let intel = Intel::get();
    let (_folder, store) = store();
    store.put(&pieces(), NOW).unwrap();
    let before = store.held(NOW).unwrap();
    let put = |piece: Piece| why(store.put(&[piece], NOW));
    // Signed by somebody else.
    let impostor = Intel::impostor().collateral(KIND);
    let foreign = Piece::TcbInfo {
        fmspc: PckBuilder::FMSPC,
        body: impostor.tcb_info_response().into_bytes(),
        chain: impostor.tcb_info_issuer_chain.into_bytes(),
    };
    assert!(put(foreign).starts_with("dcap."));
    // Half of it, or something else altogether.
    let Piece::TcbInfo { fmspc, body, chain } = tcb_info(&Document::sgx_tcb_info()) else {
        panic!()
    };
    for bad in [&body[..body.len() / 2], b"", b"<html>"] {
        let piece = Piece::TcbInfo { fmspc, body: bad.to_vec(), chain: chain.clone() };
        assert!(put(piece).starts_with("dcap."), "{}", String::from_utf8_lossy(bad));
    }
    // Of another kind of platform, of another environment, out of time, or old.
    let other = tcb_info(&Document::sgx_tcb_info().set("fmspc", "0A0B0C0D0E0F"));
    assert!(put(other).contains("0a0b0c0d0e0f"));
    assert!(put(tcb_info(&Document::tdx_tcb_info())).starts_with("dcap."));
    let ended = Document::sgx_tcb_info().dates(NOW.minus(40 * DAY), NOW.minus(DAY));
    assert!(put(tcb_info(&ended)).starts_with("dcap."));
    let old = Document::sgx_tcb_info().set("tcbEvaluationDataNumber", 20);
    assert_eq!(put(tcb_info(&old)), "older");
    // Lists.
    assert!(put(pck_list(Intel::impostor(), 1, &[1])).starts_with("dcap."));
    assert_eq!(put(pck_list(intel, 6, &[1])), "older");
    let swapped = Piece::PckList {
        ca: ca(match KIND.authority() {
            Authority::Platform => Authority::Processor,
            Authority::Processor => Authority::Platform,
        }),
        list: intel.pck_crl_der(KIND.authority()),
        chain: intel.pck_ca_chain(KIND.authority()).into_bytes(),
    };
    assert!(put(swapped).starts_with("this is not the revocation list"));
    // PCK certificates.
    let authority = KIND.authority();
    assert!(put(pck(&intel.pck(authority).pce_id(&[1, 0]))).contains("another platform"));
    assert!(put(pck(&intel.pck(authority).pce_svn(14))).contains("another platform"));
    let ended = intel.pck(authority).validity(NOW.minus(9 * DAY), NOW.minus(DAY));
    assert!(put(pck(&ended)).starts_with("dcap."));
    assert_eq!(store.held(NOW).unwrap(), before);
}

#[test]
fn a_revoked_platform_has_no_certificate_any_more() {
    let (_folder, store) = store();
    store.put(&pieces(), NOW).unwrap();
    assert!(store.pck(NOW).unwrap().is_some());
    store.put(&[pck_list(Intel::get(), 1, &PckBuilder::SERIAL)], NOW).unwrap();
    assert!(store.pck(NOW).unwrap().is_none());
    assert!(store.status(NOW).unwrap().is_none());
    assert!(store.endorsements(NOW).unwrap().first(kind::PCK_CHAIN).is_none());
    let held = store.held(NOW).unwrap();
    let pck = held.iter().find(|one| one.what == What::Pck).unwrap();
    assert!(pck.problem.as_ref().is_some_and(|why| why.contains("revoked")), "{pck:?}");
}

#[test]
fn a_revoked_signer_takes_its_documents_with_it() {
    let intel = Intel::get();
    let (_folder, store) = store();
    store.put(&pieces(), NOW).unwrap();
    let list = intel
        .root_crl(NOW.minus(DAY), NOW.plus(DAY))
        .revoke(&intel.tcb_key().identifier())
        .sign(intel.root_key());
    store.put(&[Piece::RootList(list)], NOW).unwrap();
    let all = store.endorsements(NOW).unwrap();
    assert!(all.first(kind::TCB_INFO).is_none() && all.first(kind::QE_IDENTITY).is_none());
    assert!(all.first(kind::PCK_CHAIN).is_some());
    let again = why(store.put(&[tcb_info(&Document::sgx_tcb_info())], NOW));
    assert!(again.starts_with("dcap."), "{again}");
}

#[test]
fn what_somebody_put_there_does_not_count() {
    let (_folder, store) = store();
    store.put(&pieces(), NOW).unwrap();
    let path = store.cache().path("collateral/tcb-info.json");
    let good = fs::read(&path).unwrap();
    let other = tcb_info(&Document::sgx_tcb_info().status(0, "OutOfDate"));
    let Piece::TcbInfo { body, .. } = other else { panic!() };
    let forged = String::from_utf8(good.clone()).unwrap().replace("OutOfDate", "UpToDate");
    for bad in [&good[..100], forged.as_bytes()] {
        fs::write(&path, bad).unwrap();
        let all = store.endorsements(NOW).unwrap();
        assert!(all.first(kind::TCB_INFO).is_none() && all.first(kind::QE_IDENTITY).is_some());
    }
    // A genuine one that somebody exchanged is genuine.
    fs::write(&path, body).unwrap();
    assert!(store.endorsements(NOW).unwrap().first(kind::TCB_INFO).is_some());
    // Without its signer, a text says nothing.
    fs::remove_file(store.cache().path("collateral/tcb-info-chain.pem")).unwrap();
    assert!(store.endorsements(NOW).unwrap().first(kind::TCB_INFO).is_none());
    // And everything ends at some time, with its age told.
    let later = NOW.plus(400 * DAY);
    assert!(store.endorsements(later).unwrap().first(kind::CRL).is_none());
    let held = store.held(later).unwrap();
    assert!(held.iter().all(|one| one.age.as_secs() >= 400 * DAY - 1 || one.problem.is_some()));
}
