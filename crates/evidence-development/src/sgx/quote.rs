// SPDX-License-Identifier: Apache-2.0

//! Quotes ("Intel SGX ECDSA Quote Library API Reference", A.4), and the quoting enclave that is said to make
//! them.

use aws_lc_rs::digest;
use evidence_pki::{PublicKey, Signer};

use super::{SgxPlatform, pck};
use crate::DevelopmentError;
use crate::attester::put;

/// `MRSIGNER` of the quoting enclave: no hash of any key.
pub(super) const QE_SIGNER: [u8; 32] = *b"Enarx development quoting signer";
/// `MRENCLAVE` of the quoting enclave: no enclave at all.
const QE_MEASUREMENT: [u8; 32] = *b"Enarx quoting enclave, not there";
/// `qe_vendor_id`.
const QE_VENDOR: [u8; 16] = *b"Enarx-standin-QE";
/// `ISVPRODID` of the quoting enclave, as Intel's.
pub(super) const QE_PRODUCT: u16 = 1;
/// `ISVSVN` of the quoting enclave.
pub(super) const QE_SVN: u16 = 9;
/// `ATTRIBUTES` of the quoting enclave: INIT, MODE64BIT, PROVISIONKEY; x87, SSE, AVX and AVX-512.
const QE_ATTRIBUTES: [u8; 16] = [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];

/// Offset of `REPORTDATA` in an enclave's report, in bytes (Intel SDM volume 3D).
pub(super) const REPORT_DATA: usize = 320;

/// The quoting enclave's own data, which its report covers: Intel's counts up.
const AUTH_DATA: [u8; 32] = {
    let mut data = [0; 32];
    let mut at = 0u8;
    while at < 32 {
        data[at as usize] = at;
        at += 1;
    }
    data
};

pub(super) fn target_info() -> [u8; 512] {
    let mut info = [0; 512];
    put(&mut info, 0, &QE_MEASUREMENT);
    put(&mut info, 32, &QE_ATTRIBUTES);
    info
}

pub(super) fn quote(
    platform: &SgxPlatform,
    report: &[u8; 384],
) -> Result<Vec<u8>, DevelopmentError> {
    let mut quote = Vec::with_capacity(6 << 10);
    // Version 3, key of ECDSA on P-256, SGX.
    quote.extend_from_slice(&3u16.to_le_bytes());
    quote.extend_from_slice(&2u16.to_le_bytes());
    quote.extend_from_slice(&0u32.to_le_bytes());
    quote.extend_from_slice(&QE_SVN.to_le_bytes());
    quote.extend_from_slice(&pck::PCE_SVN.to_le_bytes());
    quote.extend_from_slice(&QE_VENDOR);
    quote.extend_from_slice(&platform.id);
    quote.extend_from_slice(&[0; 4]);
    quote.extend_from_slice(report);

    let signature = numbers(platform.attestation.sign_numbers(&quote)?);
    let data = signature_data(platform, &signature)?;
    quote.extend_from_slice(&length(&data)?);
    quote.extend_from_slice(&data);
    Ok(quote)
}

/// What comes after what is signed: signature, key, and who vouches for it.
fn signature_data(platform: &SgxPlatform, signature: &[u8]) -> Result<Vec<u8>, DevelopmentError> {
    let key = platform.attestation.public_key();
    // A point without the octet that says that it is not compressed.
    let point = match PublicKey::from_spki(key) {
        Ok(PublicKey::P256([_, point @ ..])) => point,
        _ => return Err(DevelopmentError::Library("write a key")),
    };
    let mut report = [0; 384];
    put(&mut report, 0, &SgxPlatform::CPU_SVN);
    put(&mut report, 48, &QE_ATTRIBUTES);
    put(&mut report, 64, &QE_MEASUREMENT);
    put(&mut report, 128, &QE_SIGNER);
    put(&mut report, 256, &QE_PRODUCT.to_le_bytes());
    put(&mut report, 258, &QE_SVN.to_le_bytes());
    let mut named = digest::Context::new(&digest::SHA256);
    named.update(point);
    named.update(&AUTH_DATA);
    put(&mut report, REPORT_DATA, named.finish().as_ref());
    let report_signature = numbers(platform.pck.sign_numbers(&report)?);

    // The chain ends in a zero, as a text in C does.
    let chain = [platform.chain.as_bytes(), &[0]].concat();
    Ok([
        signature,
        point,
        &report,
        &report_signature,
        &32u16.to_le_bytes(),
        &AUTH_DATA,
        // Certification data of type 5: the chain in PEM.
        &5u16.to_le_bytes(),
        &length(&chain)?,
        &chain,
    ]
    .concat())
}

fn numbers((r, s): ([u8; 32], [u8; 32])) -> Vec<u8> {
    [r, s].concat()
}

fn length(bytes: &[u8]) -> Result<[u8; 4], DevelopmentError> {
    let length = u32::try_from(bytes.len());
    length.map(u32::to_le_bytes).map_err(|_| DevelopmentError::Library("write a quote"))
}
