// SPDX-License-Identifier: Apache-2.0

//! Changed revocation lists.

use super::*;

pub(super) fn cases(cases: &mut Cases) {
    use QuoteKind::{SgxV3, Tdx15V5};
    let intel = Intel::get();
    for kind in [SgxV3, Tdx15V5] {
        let authority = kind.authority();
        let (from, until) = (NOW.minus(DAY), NOW.plus(DAY));
        cases.collateral("dcap.root-crl-missing", "none", kind, |all| all.root_ca_crl.clear());
        cases.collateral("dcap.pck-crl-missing", "none", kind, |all| all.pck_crl.clear());
        let other = match authority {
            Authority::Platform => Authority::Processor,
            Authority::Processor => Authority::Platform,
        };
        cases.collateral("dcap.pck-crl-missing", "of the other authority", kind, |all| {
            all.pck_crl = intel.pck_crl_der(other);
        });
        cases.collateral("dcap.crl", "no DER", kind, |all| all.pck_crl = vec![0x30, 9]);
        cases.collateral("dcap.crl", "never expires", kind, |all| {
            all.root_ca_crl =
                intel.root_crl(from, until).without_next_update().sign(intel.root_key());
        });
        cases.collateral("dcap.crl-issuer", "swapped", kind, |all| {
            std::mem::swap(&mut all.root_ca_crl, &mut all.pck_crl);
        });
        cases.collateral("dcap.crl-signature", "root's, spoiled", kind, |all| {
            all.root_ca_crl = intel.root_crl(from, until).spoiled().sign(intel.root_key());
        });
        cases.collateral("dcap.crl-signature", "authority's, by the root", kind, |all| {
            all.pck_crl = intel.pck_crl(authority, from, until).sign(intel.root_key());
        });
        cases.collateral("dcap.crl-expired", "root's", kind, |all| {
            all.root_ca_crl = intel.root_crl(from, NOW.minus(1)).sign(intel.root_key());
        });
        cases.collateral("dcap.crl-expired", "authority's", kind, |all| {
            let list = intel.pck_crl(authority, from, NOW.minus(1));
            all.pck_crl = list.sign(intel.pck_ca_key(authority));
        });
        cases.collateral("dcap.crl-not-yet-valid", "root's", kind, |all| {
            all.root_ca_crl = intel.root_crl(NOW.plus(1), until).sign(intel.root_key());
        });
        cases.collateral("dcap.crl-not-yet-valid", "authority's", kind, |all| {
            let list = intel.pck_crl(authority, NOW.plus(1), until);
            all.pck_crl = list.sign(intel.pck_ca_key(authority));
        });
        cases.collateral("dcap.certificate-revoked", "PCK", kind, |all| {
            let list = intel.pck_crl(authority, from, until);
            let list = list.revoke(&[1; 20]).revoke(&PckBuilder::SERIAL).revoke(&[2]);
            all.pck_crl = list.sign(intel.pck_ca_key(authority));
        });
        for key in [intel.pck_ca_key(authority), intel.tcb_key()] {
            cases.collateral("dcap.certificate-revoked", "below the root", kind, |all| {
                let list = intel.root_crl(from, until).revoke(&key.identifier());
                all.root_ca_crl = list.sign(intel.root_key());
            });
        }
    }
    // Among several lists of one issuer the latest counts, wherever it stands.
    let sample = intel.sample(SgxV3);
    let authority = SgxV3.authority();
    let later = intel
        .pck_crl(authority, NOW.minus(DAY), NOW.plus(DAY))
        .revoke(&PckBuilder::SERIAL)
        .sign(intel.pck_ca_key(authority));
    for first in [true, false] {
        let mut pieces = Endorsements::new();
        if first {
            pieces.push(kind::CRL, later.clone()).unwrap();
        }
        for one in collateral_json(sample.collateral.to_json().as_bytes()).unwrap().iter() {
            pieces.push(one.kind.to_string(), one.bytes.to_vec()).unwrap();
        }
        if !first {
            pieces.push(kind::CRL, later.clone()).unwrap();
        }
        let quote = sample.quote.clone();
        let pieces = Evidence::Pieces(pieces);
        cases.push("dcap.certificate-revoked", "on the later list", SgxV3, quote, pieces);
    }
}
