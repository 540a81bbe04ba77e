// SPDX-License-Identifier: Apache-2.0

//! Changed quotes.

use super::*;

pub(super) fn cases(cases: &mut Cases) {
    use QuoteKind::{SgxV3, SgxV4, SgxV5, Tdx10V5, Tdx15V5, TdxV4};
    let intel = Intel::get();
    for kind in QuoteKind::ALL {
        let good = intel.sign_quote(&intel.quote(kind));
        for length in [0, 1, 10, 47, 53, 60, 300, 431, 700, 900, 1100, good.len() - 1] {
            let short = good[..length].to_vec();
            let name = format!("{kind:?} of {length} bytes");
            cases.push("dcap.quote", name, kind, short, file(&intel.collateral(kind)));
        }
        cases.quote("dcap.quote", "too large", kind, |quote| quote.trailing(&[0; 64 << 10]));
        cases.quote("dcap.trailing-bytes", "signature length 10", kind, |quote| {
            quote.signature_length(10)
        });
        cases.quote("dcap.quote", "signature length 2^32-1", kind, |quote| {
            quote.signature_length(u32::MAX)
        });
        cases
            .quote("dcap.quote-version", "version 2", kind, |quote| quote.patch_header(0, &[2, 0]));
        cases
            .quote("dcap.quote-version", "version 6", kind, |quote| quote.patch_header(0, &[6, 0]));
        cases.quote("dcap.trailing-bytes", "one byte after zeros", kind, |quote| {
            quote.trailing(&[0, 0, 0, 1])
        });
        cases.quote("dcap.tee-type", "unknown", kind, |quote| quote.patch_header(4, &[0x82]));
        cases.quote("dcap.key-type", "P-384", kind, |quote| quote.patch_header(2, &[3, 0]));
        cases.quote("dcap.qe-vendor", "another vendor", kind, |quote| quote.patch_header(12, &[0]));
        cases.quote("dcap.certification-data", "plain PPID", kind, |quote| {
            quote.certification_data(2, &[0; 404])
        });
        cases.quote("dcap.quote", "type 3 of another length", kind, |quote| {
            quote.certification_data(3, &[0; 403])
        });
        cases.quote("dcap.pck-chain-missing", "encrypted PPID", kind, |quote| {
            quote.certification_data(3, &[0; 404])
        });
        cases.quote("dcap.reserved", "in the QE report", kind, |quote| {
            quote.patch_qe_report(20, &[1])
        });
        cases.quote("dcap.qe-report-data", "another key", kind, |quote| {
            quote.patch_qe_report(qe_offset::REPORT_DATA, &[0; 4])
        });
        cases.quote("dcap.qe-report-data", "more than a digest", kind, |quote| {
            quote.patch_qe_report(qe_offset::REPORT_DATA + 32, &[1])
        });
        let body = kind.body_offset();
        cases.quote("dcap.quote-signature", "body changed", kind, |quote| {
            quote.patch_after(body + 64, &[0xff; 4])
        });
        let signed = intel.quote(kind).signed_length();
        cases.quote("dcap.quote-signature", "no signature", kind, |quote| {
            quote.patch_after(signed + 4, &[0; 64])
        });
        let qe_report = signed + 4 + 128 + if kind.version() > 3 { 6 } else { 0 };
        cases.quote("dcap.qe-report-signature", "QE report changed", kind, |quote| {
            quote.patch_after(qe_report + qe_offset::MRENCLAVE, &[0xff; 4])
        });
        cases.quote("dcap.qe-debug", "debug", kind, |quote| {
            quote.patch_qe_report(qe_offset::ATTRIBUTES, &[0x17])
        });
        cases.quote("dcap.qe-attributes", "another flag", kind, |quote| {
            quote.patch_qe_report(qe_offset::ATTRIBUTES, &[0x35])
        });
        cases.quote("dcap.qe-misc-select", "EXINFO", kind, |quote| {
            quote.patch_qe_report(qe_offset::MISC_SELECT, &[1])
        });
        cases.quote("dcap.qe-signer", "another signer", kind, |quote| {
            quote.patch_qe_report(qe_offset::MRSIGNER, &[1])
        });
        cases.quote("dcap.qe-product", "another product", kind, |quote| {
            quote.patch_qe_report(qe_offset::PRODUCT_ID, &[9])
        });
        cases.quote("dcap.qe-level", "ISVSVN 0", kind, |quote| {
            quote.patch_qe_report(qe_offset::SVN, &[0])
        });
        cases.quote("dcap.tcb-revoked", "QE", kind, |quote| {
            quote.patch_qe_report(qe_offset::SVN, &[1])
        });
    }
    cases.quote("dcap.tee-type", "TDX in version 3", SgxV3, |quote| quote.patch_header(4, &[0x81]));
    for (kind, other) in [(SgxV4, TdxV4), (TdxV4, SgxV4)] {
        let quote = intel.sign_quote(&intel.quote(other));
        let name = format!("{other:?} as {kind:?}");
        cases.push("dcap.tee-type", name, kind, quote, file(&intel.collateral(kind)));
    }
    cases.quote("dcap.body-type", "SGX body of a TD", Tdx10V5, |quote| {
        quote.body_header(Some((1, 384))).body(&[0; 384])
    });
    cases.quote("dcap.body-type", "TD body of an enclave", SgxV5, |quote| {
        quote.body_header(Some((2, 584))).body(&[0; 584])
    });
    cases.quote("dcap.body-type", "type 5", Tdx15V5, |quote| quote.body_header(Some((5, 648))));
    cases.quote("tdx.extended-body", "type 4", Tdx15V5, |quote| quote.body_header(Some((4, 648))));
    for (kind, number, length) in [(SgxV5, 1, 383), (Tdx10V5, 2, 583), (Tdx15V5, 3, 647)] {
        cases.quote("dcap.quote", "body cut short", kind, |quote| {
            quote.body_header(Some((number, length)))
        });
    }
    for kind in [SgxV4, SgxV5, TdxV4, Tdx10V5, Tdx15V5] {
        cases.quote("dcap.reserved", "in the header", kind, |quote| quote.patch_header(8, &[1]));
        cases.quote("dcap.certification-data", "not in type 6", kind, |quote| quote.outer_type(5));
        cases.quote("dcap.quote", "outer length", kind, |quote| quote.outer_length(600));
    }
    for kind in [SgxV3, SgxV4, SgxV5] {
        for offset in [20, 31, 96, 127, 160, 191, 262, 303] {
            let name = format!("byte {offset} of the body");
            cases.quote("dcap.reserved", &name, kind, |quote| quote.patch_body(offset, &[1]));
        }
    }
    for kind in [TdxV4, Tdx10V5, Tdx15V5] {
        cases.quote("tdx.td-attributes", "bit 8", kind, |quote| {
            quote.patch_body(td_offset::TD_ATTRIBUTES + 1, &[1])
        });
        cases.quote("tdx.module-signer", "another signer", kind, |quote| {
            quote.patch_body(td_offset::MRSIGNER_SEAM, &[1])
        });
        cases.quote("tdx.module-attributes", "an attribute", kind, |quote| {
            quote.patch_body(td_offset::SEAM_ATTRIBUTES, &[1])
        });
        cases.quote("tdx.module-identity", "generation 9", kind, |quote| {
            quote.patch_body(td_offset::TEE_TCB_SVN, &[5, 9])
        });
        cases.quote("tdx.module-level", "SVN 1", kind, |quote| {
            quote.patch_body(td_offset::TEE_TCB_SVN, &[1, 1])
        });
        cases.quote("tdx.module-signer", "of generation 0", kind, |quote| {
            quote
                .patch_body(td_offset::TEE_TCB_SVN, &[5, 0])
                .patch_body(td_offset::MRSIGNER_SEAM, &[1])
        });
    }
    cases.quote("tdx.module-identity", "of the module that runs now", Tdx15V5, |quote| {
        quote
            .patch_body(td_offset::TEE_TCB_SVN, &[2, 1])
            .patch_body(td_offset::TEE_TCB_SVN_2, &[5, 9])
    });
}
