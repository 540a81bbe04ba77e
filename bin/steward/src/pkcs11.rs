// SPDX-License-Identifier: Apache-2.0

//! A key in a hardware security module, by PKCS#11: it signs there and never leaves it.
//!
//! The hash is made here and the device signs it with `CKM_ECDSA`, which every module has; the mechanisms
//! that hash as well are missing in many. A module may allow only one operation per session at a time, so
//! there are a few sessions, and a thread that wants to sign takes one for as long.

use std::fmt;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use command_line::{OrExit, files, warn};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use evidence_crypto::{AwsLc, Crypto};
use evidence_pki::{Cursor, encode, tag};
use steward_core::{SignError, Signer, SigningAlgorithm};
use zeroize::Zeroizing;

use crate::cli::Pkcs11Args;
use crate::exit::{Code, Failure};

/// The variable with the PIN, if it is in no file.
const PIN_VARIABLE: &str = "STEWARD_PKCS11_PIN";

/// As many threads sign at one time.
const SESSIONS: usize = 4;

/// DER `OBJECT IDENTIFIER` of the curves, as they stand in `CKA_EC_PARAMS`.
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: [u8; 7] = [6, 5, 0x2b, 0x81, 4, 0, 0x22];

/// A private key in a module.
pub(crate) struct Pkcs11Key {
    /// Sessions that nobody uses at the moment.
    idle: Mutex<Vec<Session>>,
    returned: Condvar,
    key: ObjectHandle,
    algorithm: SigningAlgorithm,
    public_key: Vec<u8>,
}

impl fmt::Debug for Pkcs11Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Pkcs11Key {
    /// Opens the key that the options name; `None` if they name none.
    pub(crate) fn open(args: &Pkcs11Args) -> Result<Option<Self>, Failure> {
        let (Some(module), Some(token), Some(label)) =
            (&args.pkcs11_module, &args.pkcs11_token, &args.pkcs11_key_label)
        else {
            return Ok(None);
        };
        let pin = pin(args.pkcs11_pin_file.as_deref())?;
        Self::new(module, token, label, &pin)
            .or_exit_with(Code::Failed, || {
                format!(
                    "cannot use the key `{label}` of the token `{token}` by {}",
                    module.display()
                )
            })
            .map(Some)
    }

    fn new(module: &Path, token: &str, label: &str, pin: &AuthPin) -> anyhow::Result<Self> {
        let context = Pkcs11::new(module)?;
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        let slot = find_slot(&context, token)?;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            // Small tokens have few sessions; one is enough to go on.
            match context.open_ro_session(slot) {
                Ok(session) => sessions.push(session),
                Err(error) if sessions.is_empty() => return Err(error.into()),
                Err(_) => break,
            }
        }
        let first = sessions.first().ok_or_else(|| anyhow::anyhow!("there is no session"))?;
        // Whoever is logged in, is it in all sessions of the process.
        first.login(UserType::User, Some(pin))?;
        let key = find_key(first, ObjectClass::PRIVATE_KEY, label)?;
        let (algorithm, public_key) = public_key(first, key, label)?;
        Ok(Self {
            idle: Mutex::new(sessions),
            returned: Condvar::new(),
            key,
            algorithm,
            public_key,
        })
    }

    fn raw_signature(&self, hash: &[u8]) -> Result<Vec<u8>, cryptoki::error::Error> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let session = loop {
            match idle.pop() {
                Some(session) => break session,
                None => idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(idle);
        let signature = session.sign(&Mechanism::Ecdsa, self.key, hash);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        self.returned.notify_one();
        signature
    }
}

impl Signer for Pkcs11Key {
    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let (hash, size) = match self.algorithm {
            SigningAlgorithm::EcdsaP256Sha256 => (AwsLc.sha256(&[message]).to_vec(), 32),
            SigningAlgorithm::EcdsaP384Sha384 => (AwsLc.sha384(&[message]).to_vec(), 48),
        };
        let raw = self.raw_signature(&hash).map_err(|error| SignError(error.to_string()))?;
        der_signature(&raw, size)
            .ok_or_else(|| SignError(format!("the module gave a signature of {} bytes", raw.len())))
    }
}

fn pin(file: Option<&Path>) -> Result<AuthPin, Failure> {
    let text = match file {
        Some(path) => files::read_secret_text(path)?,
        None => Zeroizing::new(std::env::var(PIN_VARIABLE).map_err(|_| {
            let message = format!(
                "there is no PIN: name a file with --pkcs11-pin-file, or set {PIN_VARIABLE}"
            );
            Failure::msg(Code::Usage, message)
        })?),
    };
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

fn find_slot(context: &Pkcs11, token: &str) -> anyhow::Result<Slot> {
    let mut found = Vec::new();
    for slot in context.get_slots_with_token()? {
        if context.get_token_info(slot)?.label() == token {
            found.push(slot);
        }
    }
    match found.as_slice() {
        [slot] => Ok(*slot),
        [] => anyhow::bail!("there is no token with that label"),
        _ => anyhow::bail!("there are {} tokens with that label", found.len()),
    }
}

fn find_key(session: &Session, class: ObjectClass, label: &str) -> anyhow::Result<ObjectHandle> {
    let template = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    match session.find_objects(&template)?.as_slice() {
        [key] => Ok(*key),
        [] => anyhow::bail!("there is no {class} of that label on an elliptic curve"),
        more => anyhow::bail!("there are {} objects {class} of that label", more.len()),
    }
}

/// The public key: from the private object if it has the point, which is not required, else from the public
/// object of the same label.
fn public_key(
    session: &Session,
    key: ObjectHandle,
    label: &str,
) -> anyhow::Result<(SigningAlgorithm, Vec<u8>)> {
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint, AttributeType::Extractable];
    let (mut parameters, mut point) = (None, None);
    for attribute in session.get_attributes(key, &wanted)? {
        match attribute {
            Attribute::EcParams(bytes) => parameters = Some(bytes),
            Attribute::EcPoint(bytes) => point = Some(bytes),
            Attribute::Extractable(true) => warn(format_args!(
                "the key `{label}` can be taken out of its token; a key that is made with \
                 CKA_EXTRACTABLE set to false cannot"
            )),
            _ => {}
        }
    }
    if point.as_ref().is_none_or(Vec::is_empty) {
        let public = find_key(session, ObjectClass::PUBLIC_KEY, label)?;
        for attribute in session.get_attributes(public, &[AttributeType::EcPoint])? {
            if let Attribute::EcPoint(bytes) = attribute {
                point = Some(bytes);
            }
        }
    }
    let algorithm = match parameters.as_deref() {
        Some(curve) if curve == P256 => SigningAlgorithm::EcdsaP256Sha256,
        Some(curve) if curve == P384 => SigningAlgorithm::EcdsaP384Sha384,
        _ => anyhow::bail!("the key is on neither P-256 nor P-384"),
    };
    let point = point.unwrap_or_default();
    // A DER `OCTET STRING` with the point; some modules give the point itself.
    let mut cursor = Cursor::new(&point, "CKA_EC_POINT");
    let bare = match cursor.expect(tag::OCTET_STRING) {
        Ok(item) if cursor.is_done() => item.value,
        _ => &point,
    };
    Ok((algorithm, algorithm.public_key(bare)?))
}

/// `r ‖ s` as a DER `Ecdsa-Sig-Value` (RFC 3279, 2.2.3).
fn der_signature(raw: &[u8], size: usize) -> Option<Vec<u8>> {
    if raw.len() != 2 * size {
        return None;
    }
    let (r, s) = raw.split_at(size);
    Some(encode::sequence(&[&encode::integer(r), &encode::integer(s)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_become_der() {
        let mut raw = vec![0; 64];
        raw[31] = 0x7f;
        raw[32] = 0x80;
        let wanted = [&[0x30, 38, 2, 1, 0x7f, 2, 33, 0, 0x80][..], &[0; 31]].concat();
        assert_eq!(der_signature(&raw, 32), Some(wanted));
        assert_eq!(der_signature(&[0; 64], 32), Some(vec![0x30, 6, 2, 1, 0, 2, 1, 0]));
        assert_eq!(der_signature(&[0; 63], 32), None);
        assert_eq!(der_signature(&[0; 64], 48), None);
    }
}
