// SPDX-License-Identifier: Apache-2.0

//! Claims as verified evidence yields them, for tests to change.

use evidence_claims::{
    Claims, Detail, Firmware, PckAuthority, Platform, QuotePlatform, SgxDetail, SigningKey,
    SnpDetail, SnpProduct, TcbStatus, TcbVersion, TdxDetail, Time,
};

pub(crate) const PUBLISHED: &str = include_str!("../data/published.toml");

/// 2026-03-05T10:50:03Z.
pub(crate) const NOW: Time = Time::from_unix(1_772_707_803);

/// Bytes of hexadecimal digits, filled up with zeros.
pub(crate) fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    let digit =
        |at: usize| hex.chars().nth(at).map_or(0, |digit| digit.to_digit(16).unwrap() as u8);
    std::array::from_fn(|at| digit(2 * at) << 4 | digit(2 * at + 1))
}

fn claims(platform: Platform, product: &str, measurement: &[u8], detail: Detail) -> Claims {
    let valid_until = NOW.plus(86_400);
    Claims::new(platform, product, measurement, [0; 64], NOW, valid_until, detail)
}

fn quote_platform() -> QuotePlatform {
    QuotePlatform {
        quote_version: 4,
        fmspc: bytes("00606a000000"),
        pce_id: [0; 2],
        pce_svn: 13,
        pck_svns: [7; 16],
        pck_authority: PckAuthority::Platform,
        dynamic_platform: Some(false),
        cached_keys: Some(false),
        smt_enabled: Some(false),
        platform_status: TcbStatus::UpToDate,
        tcb_date: NOW.minus(10 * 86_400),
        qe_status: Some(TcbStatus::UpToDate),
        qe_svn: 8,
    }
}

/// An enclave that the published policy lets in.
pub(crate) fn sgx() -> Claims {
    let mr_enclave: [u8; 32] =
        bytes("4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15");
    let mr_signer: [u8; 32] =
        bytes("7a49a07df0f8e90a6e1d9a63e3c696d9c844f0e3f8739b21daa640f99facc48a");
    let detail = SgxDetail {
        platform: quote_platform(),
        cpu_svn: [7; 16],
        misc_select: 0,
        attributes: 0x85,
        xfrm: 0xe7,
        mr_enclave,
        mr_signer,
        config_id: [0; 64],
        config_svn: 0,
        isv_prod_id: 0,
        isv_svn: 0,
        isv_ext_prod_id: [0; 16],
        isv_family_id: [0; 16],
    };
    let detail = Detail::Sgx(Box::new(detail));
    let mut claims = claims(Platform::Sgx, "FMSPC 00606a000000", &mr_enclave, detail);
    claims.signer = Some(mr_signer.to_vec());
    claims.tcb_status = Some(TcbStatus::UpToDate);
    claims.evaluation_number = Some(20);
    claims
}

/// A guest that the published policy lets in.
pub(crate) fn snp() -> Claims {
    let measurement: [u8; 48] =
        bytes("ff717ae719840c93c1fca3b7db96488454c3c21b43531488eecff51cfed3febcd91da8be87");
    let author: [u8; 48] =
        bytes("7dc22240a8344fce6ba5f22ffbedabc52d4123ae0ba1c59796e521b953916b503f223b15");
    let tcb = TcbVersion { fmc: None, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
    let firmware = Firmware { major: 1, minor: 55, build: 21 };
    let detail = SnpDetail {
        report_version: 3,
        guest_svn: 0,
        policy: 0x3_0000,
        vmpl: 0,
        platform_info: 0x25,
        family_id: [0; 16],
        image_id: [0; 16],
        host_data: [0; 32],
        id_key_digest: bytes("d71a4d1da440d515cd69fbb1314acf4221726e82768a8bf6e4a4063ed542ac783"),
        author_key_digest: author,
        author_key_enabled: true,
        chip_id: [0x11; 64],
        signing_key: SigningKey::Vcek,
        product: Some(SnpProduct::Milan),
        cpuid: Some((0x19, 1, 1)),
        current_tcb: tcb,
        reported_tcb: tcb,
        committed_tcb: tcb,
        launch_tcb: tcb,
        current_firmware: firmware,
        committed_firmware: firmware,
        launch_mitigations: None,
        current_mitigations: None,
        csp_id: None,
    };
    let mut claims = claims(Platform::Snp, "Milan", &measurement, Detail::Snp(Box::new(detail)));
    claims.signer = Some(author.to_vec());
    claims
}

/// Development evidence: the same, but for its platform.
pub(crate) fn development() -> Claims {
    let mut claims = snp();
    claims.platform = Platform::Development;
    claims.product = "development".to_owned();
    detail_snp(&mut claims).product = None;
    claims
}

/// A TD as Intel would have it.
pub(crate) fn tdx() -> Claims {
    let detail = TdxDetail {
        platform: quote_platform(),
        tee_tcb_svn: bytes("05010600000000000000000000000000"),
        mr_seam: [0x5e; 48],
        mr_signer_seam: [0; 48],
        seam_attributes: 0,
        td_attributes: 1 << 28,
        xfam: 0xe7,
        mr_td: [0x7d; 48],
        mr_config_id: [0; 48],
        mr_owner: [0; 48],
        mr_owner_config: [0; 48],
        rtmrs: [[0; 48], [1; 48], [2; 48], [3; 48]],
        tee_tcb_svn_2: None,
        mr_service_td: Some([0; 48]),
        module_status: Some(TcbStatus::UpToDate),
    };
    let detail = Detail::Tdx(Box::new(detail));
    let mut claims = claims(Platform::Tdx, "FMSPC 00606a000000", &[0x7d; 48], detail);
    claims.tcb_status = Some(TcbStatus::UpToDate);
    claims.evaluation_number = Some(20);
    claims
}

pub(crate) fn detail_snp(claims: &mut Claims) -> &mut SnpDetail {
    match &mut claims.detail {
        Detail::Snp(detail) => detail,
        other => panic!("not SNP: {other:?}"),
    }
}

pub(crate) fn detail_sgx(claims: &mut Claims) -> &mut SgxDetail {
    match &mut claims.detail {
        Detail::Sgx(detail) => detail,
        other => panic!("not SGX: {other:?}"),
    }
}

pub(crate) fn detail_tdx(claims: &mut Claims) -> &mut TdxDetail {
    match &mut claims.detail {
        Detail::Tdx(detail) => detail,
        other => panic!("not TDX: {other:?}"),
    }
}
