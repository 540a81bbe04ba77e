// SPDX-License-Identifier: Apache-2.0

//! What a genuine quote says, put into claims.

use evidence_claims::{
    Claims, Detail, PckAuthority, Platform, QuotePlatform, SgxDetail, Svn, TcbStatus, TdxDetail,
};
use evidence_pki::{Certificate, hex};

use crate::collateral::Verified;
use crate::quote::{Body, Quote};
use crate::report::{EnclaveReport, TdReport};
use crate::vendor::Vendor;
use crate::{PckExtensions, Time, level};

/// What collateral says of the platform, the quoting enclave and the TDX module of a quote.
pub(crate) struct Tcb {
    /// All of them together.
    pub(crate) status: TcbStatus,
    pub(crate) platform_status: TcbStatus,
    pub(crate) tcb_date: Time,
    pub(crate) qe_status: Option<TcbStatus>,
    pub(crate) module_status: Option<TcbStatus>,
    pub(crate) advisories: Vec<String>,
}

/// The claims of a quote of which everything else was found good.
pub(crate) fn claims(
    vendor: &Vendor,
    quote: &Quote<'_>,
    leaf: &Certificate<'_>,
    pck: PckExtensions,
    verified: &Verified,
    tcb: Tcb,
    now: Time,
) -> Claims {
    let pck_authority = match leaf.issuer_common_name() {
        Some(name) if name == vendor.platform_authority => PckAuthority::Platform,
        _ => PckAuthority::Processor,
    };
    let platform = QuotePlatform {
        quote_version: quote.version,
        fmspc: pck.fmspc,
        pce_id: pck.pce_id,
        pce_svn: pck.pce_svn,
        pck_svns: pck.svns,
        pck_authority,
        dynamic_platform: pck.dynamic_platform,
        cached_keys: pck.cached_keys,
        smt_enabled: pck.smt_enabled,
        platform_status: tcb.platform_status,
        tcb_date: tcb.tcb_date,
        qe_status: tcb.qe_status,
        qe_svn: quote.qe_report.svn(),
    };
    let product = format!("FMSPC {}", hex(&pck.fmspc));
    let valid_until = verified.valid_until.min(leaf.not_after);
    let svn = |name, value: u16| Svn { name, value: value.into() };
    let mut claims = match &quote.body {
        Body::Sgx(report) => {
            let mut claims = Claims::new(
                Platform::Sgx,
                product,
                report.measurement().as_slice(),
                *report.report_data(),
                now,
                valid_until,
                Detail::Sgx(Box::new(sgx_detail(report, platform))),
            );
            claims.signer = Some(report.signer().to_vec());
            claims.debug = report.is_debug();
            claims.svns.push(svn("isv_svn", report.svn()));
            claims.svns.push(svn("config_svn", report.config_svn()));
            claims
        }
        Body::Tdx(report) => {
            let tcb_svn = report.tcb_svn();
            let mut claims = Claims::new(
                Platform::Tdx,
                product,
                report.measurement().as_slice(),
                *report.report_data(),
                now,
                valid_until,
                Detail::Tdx(Box::new(tdx_detail(report, platform, tcb.module_status))),
            );
            claims.debug = report.is_debug();
            claims.svns.push(svn("tee_tcb_svn.0", level::module_svn(tcb_svn).into()));
            claims.svns.push(svn("tee_tcb_svn.1", level::generation(tcb_svn).into()));
            claims
        }
    };
    claims.svns.push(svn("pce_svn", pck.pce_svn));
    claims.svns.push(svn("qe_svn", quote.qe_report.svn()));
    claims.tcb_status = Some(tcb.status);
    claims.advisories = tcb.advisories;
    let numbers = [
        Some(verified.tcb_info.evaluation_number),
        verified.qe_identity.as_ref().map(|identity| identity.evaluation_number),
    ];
    claims.evaluation_number = numbers.into_iter().flatten().min();
    claims
}

fn sgx_detail(report: &EnclaveReport<'_>, platform: QuotePlatform) -> SgxDetail {
    SgxDetail {
        platform,
        cpu_svn: *report.cpu_svn(),
        misc_select: report.misc_select(),
        attributes: report.flags(),
        xfrm: report.xfrm(),
        mr_enclave: *report.measurement(),
        mr_signer: *report.signer(),
        config_id: *report.config_id(),
        config_svn: report.config_svn(),
        isv_prod_id: report.product(),
        isv_svn: report.svn(),
        isv_ext_prod_id: *report.ext_product(),
        isv_family_id: *report.family(),
    }
}

fn tdx_detail(
    report: &TdReport<'_>,
    platform: QuotePlatform,
    module_status: Option<TcbStatus>,
) -> TdxDetail {
    TdxDetail {
        platform,
        tee_tcb_svn: *report.tcb_svn(),
        mr_seam: *report.mr_seam(),
        mr_signer_seam: *report.mr_signer_seam(),
        seam_attributes: u64::from_le_bytes(*report.seam_attributes()),
        td_attributes: report.td_attributes(),
        xfam: report.xfam(),
        mr_td: *report.measurement(),
        mr_config_id: *report.mr_config_id(),
        mr_owner: *report.mr_owner(),
        mr_owner_config: *report.mr_owner_config(),
        rtmrs: report.rtmrs(),
        tee_tcb_svn_2: report.tcb_svn_2().copied(),
        mr_service_td: report.mr_service_td().copied(),
        module_status,
    }
}
