// SPDX-License-Identifier: Apache-2.0

//! The cache of what Intel said, in which everything is checked on its way in and on its way out.
//!
//! | name | what |
//! |---|---|
//! | `collateral/root-ca.crl` | the root's revocation list |
//! | `collateral/pck-processor.crl`, `collateral/pck-platform.crl` | the lists of those that issue PCK certificates |
//! | `collateral/tcb-info.json`, `collateral/tcb-info-chain.pem` | TCB information, and who signed it |
//! | `collateral/qe-identity.json`, `collateral/qe-identity-chain.pem` | the quoting enclave's identity, likewise |
//! | `issuers/pck-processor.pem`, `issuers/pck-platform.pem` | who issued the lists |
//! | `pck/pck-chain.pem` | the platform's PCK certificate, its issuer and the root |
//!
//! The folder `collateral` is one that a Steward takes as it is. A cache is of one kind of platform (FMSPC):
//! what is signed for another kind is refused, however genuine it is.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use evidence_claims::{Endorsements, TcbStatus, Time, kind};
use evidence_crypto::Crypto;
use evidence_dcap::{
    DcapRefusal, Document, ListFacts, Parts, PckCa, PckFacts, QeIdentity, Signed, TcbInfo, Tee,
};
use evidence_pki::hex;
use vendor_fetch::{Cache, Stored};

use crate::PcsError;
use crate::platform::PlatformId;

/// The folder in the cache that a Steward can be given.
pub const COLLATERAL: &str = "collateral";

const ROOT_LIST: &str = "collateral/root-ca.crl";
const TCB_INFO: &str = "collateral/tcb-info.json";
const TCB_INFO_CHAIN: &str = "collateral/tcb-info-chain.pem";
const QE_IDENTITY: &str = "collateral/qe-identity.json";
const QE_IDENTITY_CHAIN: &str = "collateral/qe-identity-chain.pem";
const PCK: &str = "pck/pck-chain.pem";

/// Something that is to be stored. Chains are PEM or DER, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The root's revocation list, DER.
    RootList(Vec<u8>),
    /// The revocation list of an authority that issues PCK certificates.
    PckList {
        /// Which authority.
        ca: PckCa,
        /// DER.
        list: Vec<u8>,
        /// The authority, and the root.
        chain: Vec<u8>,
    },
    /// A platform's PCK certificate.
    Pck {
        /// What was asked for; `None` for a chain that came with a quote.
        platform: Option<PlatformId>,
        /// The certificate, its authority, and the root.
        chain: Vec<u8>,
    },
    /// TCB information, as it is signed.
    TcbInfo {
        /// The kind of platform that was asked for.
        fmspc: [u8; 6],
        /// JSON.
        body: Vec<u8>,
        /// Who signed it, and the root.
        chain: Vec<u8>,
    },
    /// The identity of Intel's quoting enclave, as it is signed.
    QeIdentity {
        /// JSON.
        body: Vec<u8>,
        /// Who signed it, and the root.
        chain: Vec<u8>,
    },
}

/// What a file of the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A revocation list.
    List,
    /// A platform's PCK certificate.
    Pck,
    /// TCB information.
    TcbInfo,
    /// The identity of the quoting enclave.
    QeIdentity,
    /// Who signed or issued one of the others.
    Issuer,
    /// Something that is none of these.
    Unknown,
}

/// A file of the cache, looked at now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name in the cache.
    pub name: String,
    /// What it is.
    pub what: What,
    /// How long ago it was fetched.
    pub age: Duration,
    /// Until when it counts; `None` if it does not.
    pub valid_until: Option<Time>,
    /// What else is worth knowing of it.
    pub note: Option<String>,
    /// Why it does not count.
    pub problem: Option<String>,
}

/// The cache, and what its contents are verified with.
#[derive(Debug)]
pub struct Store {
    cache: Cache,
    parts: Parts,
}

/// What is found in a cache by name.
type Find<'a, 'f> = &'a dyn Fn(&str) -> Option<&'f Stored>;

impl Store {
    /// Under Intel's root, which is built in.
    #[must_use]
    pub fn new(cache: Cache, crypto: Arc<dyn Crypto>) -> Self {
        Self { cache, parts: Parts::new(crypto) }
    }

    /// Under another root, in DER: for tests.
    ///
    /// # Errors
    ///
    /// [`PcsError::Refused`] if it is none.
    pub fn with_root(cache: Cache, crypto: Arc<dyn Crypto>, root: &[u8]) -> Result<Self, PcsError> {
        let parts = Parts::with_root(crypto, root).map_err(refused("the root"))?;
        Ok(Self { cache, parts })
    }

    /// Where it is.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Verifies pieces and stores them, all or none. Lists come first, whatever their order: what else comes
    /// is held against them.
    ///
    /// # Errors
    ///
    /// [`PcsError`]; the cache is as it was then.
    pub fn put(&self, pieces: &[Piece], now: Time) -> Result<Vec<Held>, PcsError> {
        let mut update = self.cache.update()?;
        let since = UNIX_EPOCH + Duration::from_secs(now.unix());
        let mut ordered: Vec<&Piece> = pieces.iter().collect();
        ordered.sort_by_key(|piece| rank(piece));
        let mut names = Vec::new();
        for piece in ordered {
            let find = |name: &str| update.get(name);
            let files: Vec<(String, &[u8])> = match piece {
                Piece::RootList(list) => {
                    let facts = self.parts.root_list(list, now);
                    let facts = facts.map_err(refused("the root's revocation list"))?;
                    let old = find(ROOT_LIST)
                        .and_then(|old| self.parts.root_list(&old.bytes, begin(&old.bytes)?).ok());
                    not_older("the root's revocation list", &facts, old)?;
                    vec![(ROOT_LIST.into(), list)]
                }
                Piece::PckList { ca, list, chain } => {
                    let what = format!("the revocation list of the PCK {} CA", ca.as_str());
                    let root = self.root_list(&find, now);
                    let facts = self.parts.pck_list(list, chain, root, now);
                    let facts = facts.map_err(refused(what.as_str()))?;
                    if facts.issuer != Some(*ca) {
                        return Err(PcsError::Other(format!("this is not {what}")));
                    }
                    let old = find(&list_name(*ca)).and_then(|old| {
                        self.parts.pck_list(&old.bytes, chain, None, begin(&old.bytes)?).ok()
                    });
                    not_older(&what, &facts, old)?;
                    vec![(list_name(*ca), list), (issuer_name(*ca), chain)]
                }
                Piece::Pck { platform, chain } => {
                    let facts = self.pck_facts(&find, chain, now);
                    let facts = facts.map_err(refused("the PCK certificate"))?;
                    check_pck(&facts, platform.as_ref())?;
                    vec![(PCK.into(), chain)]
                }
                Piece::TcbInfo { fmspc, body, chain } => {
                    let root = self.root_list(&find, now);
                    let info = self.parts.tcb_info(Tee::Sgx, body, chain, root, now);
                    let info = info.map_err(refused("the TCB information"))?;
                    self.check_tcb_info(&find, &info, *fmspc, now)?;
                    vec![(TCB_INFO.into(), body), (TCB_INFO_CHAIN.into(), chain)]
                }
                Piece::QeIdentity { body, chain } => {
                    let root = self.root_list(&find, now);
                    let identity = self.parts.qe_identity(Tee::Sgx, body, chain, root, now);
                    let identity = identity.map_err(refused("the quoting enclave's identity"))?;
                    check_qe_identity(&find, &identity)?;
                    vec![(QE_IDENTITY.into(), body), (QE_IDENTITY_CHAIN.into(), chain)]
                }
            };
            let files: Vec<(String, Vec<u8>)> =
                files.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
            for (name, bytes) in files {
                names.push(name.clone());
                update.put(name, bytes, since);
            }
        }
        update.commit()?;
        Ok(self.held(now)?.into_iter().filter(|held| names.contains(&held.name)).collect())
    }

    /// The platform's PCK certificate, if there is one that is good now.
    ///
    /// # Errors
    ///
    /// [`PcsError::Cache`] alone: one that is not good is as good as absent, and [`Store::held`] says why.
    pub fn pck(&self, now: Time) -> Result<Option<PckFacts>, PcsError> {
        let all = self.cache.read()?;
        let find = |name: &str| all.get(name);
        Ok(find(PCK).and_then(|pck| self.pck_facts(&find, &pck.bytes, now).ok()))
    }

    /// What Intel says of the platform whose PCK certificate is in the cache, if both are there and good.
    /// The quoting enclave has a status of its own.
    ///
    /// # Errors
    ///
    /// [`PcsError::Cache`].
    pub fn status(&self, now: Time) -> Result<Option<(TcbStatus, Vec<String>)>, PcsError> {
        let all = self.cache.read()?;
        let find = |name: &str| all.get(name);
        let pck = find(PCK).and_then(|pck| self.pck_facts(&find, &pck.bytes, now).ok());
        let (Some(pck), Some(info)) = (pck, self.tcb_info(&find, now)) else { return Ok(None) };
        let level = info.level_of(&pck.extensions);
        Ok(level.map(|level| (level.status, level.advisories.clone())))
    }

    /// Everything that a Steward needs besides a quote of this platform. What is not good now is left out.
    ///
    /// # Errors
    ///
    /// [`PcsError::Cache`].
    pub fn endorsements(&self, now: Time) -> Result<Endorsements<'static>, PcsError> {
        let all = self.cache.read()?;
        let find = |name: &str| all.get(name);
        let mut out = Endorsements::new();
        let lists = [ROOT_LIST.to_owned(), list_name(PckCa::Processor), list_name(PckCa::Platform)];
        let kinds = [
            (TCB_INFO, kind::TCB_INFO),
            (TCB_INFO_CHAIN, kind::TCB_INFO_CHAIN),
            (QE_IDENTITY, kind::QE_IDENTITY),
            (QE_IDENTITY_CHAIN, kind::QE_IDENTITY_CHAIN),
            (PCK, kind::PCK_CHAIN),
        ];
        let lists = lists.iter().map(|name| (name.as_str(), kind::CRL));
        for (name, kind) in lists.chain(kinds) {
            if let Some(file) = find(name)
                && self.judge(&find, file, now).1.is_ok()
            {
                out.push(kind, file.bytes.clone())?;
            }
        }
        Ok(out)
    }

    /// All that the cache holds, each verified anew.
    ///
    /// # Errors
    ///
    /// [`PcsError::Cache`].
    pub fn held(&self, now: Time) -> Result<Vec<Held>, PcsError> {
        let all = self.cache.read()?;
        let find = |name: &str| all.get(name);
        let clock = UNIX_EPOCH + Duration::from_secs(now.unix());
        let look = |file: &Stored| {
            let (what, seen) = self.judge(&find, file, now);
            let (valid_until, note, problem) = match seen {
                Ok((until, note)) => (Some(until), note, None),
                Err(problem) => (None, None, Some(problem)),
            };
            let (name, age) = (file.name.clone(), file.age(clock));
            Held { name, what, age, valid_until, note, problem }
        };
        Ok(all.files().iter().map(look).collect())
    }

    /// What a file is, and until when it counts.
    fn judge(
        &self,
        find: Find<'_, '_>,
        file: &Stored,
        now: Time,
    ) -> (What, Result<(Time, Option<String>), String>) {
        let ca =
            |name: fn(PckCa) -> String| PckCa::ALL.into_iter().find(|ca| name(*ca) == file.name);
        if file.name == ROOT_LIST {
            let facts = self.parts.root_list(&file.bytes, now).map_err(chain_of);
            return (What::List, facts.map(|facts| (facts.next_update, None)));
        }
        if let Some(ca) = ca(list_name) {
            return (What::List, self.judge_pck_list(find, ca, file, now));
        }
        if let Some(ca) = ca(issuer_name) {
            let list = find(&list_name(ca)).ok_or_else(|| "there is no list of it".to_owned());
            return (What::Issuer, list.and_then(|list| self.judge_pck_list(find, ca, list, now)));
        }
        match file.name.as_str() {
            PCK => {
                let facts = self.pck_facts(find, &file.bytes, now).map_err(chain_of);
                let note = |facts: &PckFacts| format!("FMSPC {}", hex(&facts.extensions.fmspc));
                (What::Pck, facts.map(|facts| (facts.valid_until, Some(note(&facts)))))
            }
            TCB_INFO | TCB_INFO_CHAIN => {
                let what = if file.name == TCB_INFO { What::TcbInfo } else { What::Issuer };
                let seen = self.tcb_info_facts(find, now).map(|info| {
                    let (number, fmspc) = (info.evaluation_number, hex(&info.fmspc));
                    (info.next_update, Some(format!("FMSPC {fmspc}, evaluation {number}")))
                });
                (what, seen)
            }
            QE_IDENTITY | QE_IDENTITY_CHAIN => {
                let what = if file.name == QE_IDENTITY { What::QeIdentity } else { What::Issuer };
                let seen = self.qe_identity_facts(find, now).map(|identity| {
                    let number = identity.evaluation_number;
                    (identity.next_update, Some(format!("evaluation {number}")))
                });
                (what, seen)
            }
            _ => (What::Unknown, Err("it is nothing that belongs here".into())),
        }
    }

    fn judge_pck_list(
        &self,
        find: Find<'_, '_>,
        ca: PckCa,
        list: &Stored,
        now: Time,
    ) -> Result<(Time, Option<String>), String> {
        let chain = find(&issuer_name(ca)).ok_or("its issuer is missing")?;
        let root = self.root_list(find, now);
        let facts = self.parts.pck_list(&list.bytes, &chain.bytes, root, now).map_err(chain_of)?;
        match facts.issuer == Some(ca) {
            true => Ok((facts.next_update, None)),
            false => Err("it is the list of another authority".into()),
        }
    }

    fn tcb_info_facts(&self, find: Find<'_, '_>, now: Time) -> Result<TcbInfo, String> {
        let (body, chain) = pair(find, TCB_INFO, TCB_INFO_CHAIN)?;
        let root = self.root_list(find, now);
        self.parts.tcb_info(Tee::Sgx, body, chain, root, now).map_err(chain_of)
    }

    fn qe_identity_facts(&self, find: Find<'_, '_>, now: Time) -> Result<QeIdentity, String> {
        let (body, chain) = pair(find, QE_IDENTITY, QE_IDENTITY_CHAIN)?;
        let root = self.root_list(find, now);
        self.parts.qe_identity(Tee::Sgx, body, chain, root, now).map_err(chain_of)
    }

    fn tcb_info(&self, find: Find<'_, '_>, now: Time) -> Option<TcbInfo> {
        self.tcb_info_facts(find, now).ok()
    }

    /// The root's list, if there is one that counts now. One that does not cannot hold anything up.
    fn root_list<'f>(&self, find: Find<'_, 'f>, now: Time) -> Option<&'f [u8]> {
        let list = find(ROOT_LIST)?;
        self.parts.root_list(&list.bytes, now).ok()?;
        Some(&list.bytes)
    }

    /// Verifies a PCK certificate with the lists that there are.
    fn pck_facts(
        &self,
        find: Find<'_, '_>,
        chain: &[u8],
        now: Time,
    ) -> Result<PckFacts, DcapRefusal> {
        let root = self.root_list(find, now);
        let facts = self.parts.pck_chain(chain, root, None, now)?;
        let list = find(&list_name(facts.issuer))
            .filter(|list| self.judge_pck_list(find, facts.issuer, list, now).is_ok());
        match list {
            Some(list) => self.parts.pck_chain(chain, root, Some(&list.bytes), now),
            None => Ok(facts),
        }
    }

    /// That TCB information is of the platform at hand, and not older than what is there.
    fn check_tcb_info(
        &self,
        find: Find<'_, '_>,
        info: &TcbInfo,
        fmspc: [u8; 6],
        now: Time,
    ) -> Result<(), PcsError> {
        let other = |whose: &str, wanted: &[u8; 6]| {
            let (found, wanted) = (hex(&info.fmspc), hex(wanted));
            Err(PcsError::Other(format!(
                "the TCB information is for FMSPC {found}, {whose} {wanted}"
            )))
        };
        if info.fmspc != fmspc {
            return other("which is not", &fmspc);
        }
        if let Some(pck) = find(PCK).and_then(|pck| self.pck_facts(find, &pck.bytes, now).ok())
            && pck.extensions.fmspc != info.fmspc
        {
            return other("and this cache is of a platform of FMSPC", &pck.extensions.fmspc);
        }
        let Some(old) = read_old(find, TCB_INFO, Document::TcbInfo, TcbInfo::parse) else {
            return Ok(());
        };
        if old.fmspc != info.fmspc {
            return other("and this cache is of FMSPC", &old.fmspc);
        }
        let (new, then) = (info.issue_date, old.issue_date);
        older("the TCB information", info.evaluation_number < old.evaluation_number, new, then)
    }
}

/// Lists first, then what is held against them.
fn rank(piece: &Piece) -> u8 {
    match piece {
        Piece::RootList(_) => 0,
        Piece::PckList { .. } => 1,
        Piece::Pck { .. } => 2,
        Piece::TcbInfo { .. } | Piece::QeIdentity { .. } => 3,
    }
}

/// A document of the cache that was good once: it got in.
fn read_old<T>(
    find: Find<'_, '_>,
    name: &str,
    document: Document,
    parse: impl Fn(&[u8]) -> Result<T, DcapRefusal>,
) -> Option<T> {
    let body = &find(name)?.bytes;
    parse(Signed::read(document, body).ok()?.text).ok()
}

fn check_qe_identity(find: Find<'_, '_>, new: &QeIdentity) -> Result<(), PcsError> {
    let Some(old) = read_old(find, QE_IDENTITY, Document::QeIdentity, QeIdentity::parse) else {
        return Ok(());
    };
    let is_older = new.evaluation_number < old.evaluation_number;
    older("the quoting enclave's identity", is_older, new.issue_date, old.issue_date)
}

/// That a PCK certificate is the one that was asked for. Intel answers with the certificate of the highest
/// TCB that the platform has, so its parts may be lower than those that were asked for, but never higher.
fn check_pck(facts: &PckFacts, platform: Option<&PlatformId>) -> Result<(), PcsError> {
    let Some(platform) = platform else { return Ok(()) };
    let pck = &facts.extensions;
    if pck.pce_id != platform.pce_id || pck.pce_svn > platform.pce_svn {
        return Err(PcsError::Other("the PCK certificate is for another platform".into()));
    }
    Ok(())
}

fn not_older(what: &str, new: &ListFacts, old: Option<ListFacts>) -> Result<(), PcsError> {
    let Some(old) = old else { return Ok(()) };
    let is_older = (new.this_update, new.number) < (old.this_update, old.number);
    older(what, is_older, new.this_update, old.this_update)
}

fn older(what: &str, is_older: bool, new: Time, old: Time) -> Result<(), PcsError> {
    match is_older {
        true => Err(PcsError::Older { what: what.into(), new, old }),
        false => Ok(()),
    }
}

/// When a list began to count, as it says.
fn begin(list: &[u8]) -> Option<Time> {
    evidence_pki::Crl::parse(list).ok().map(|list| list.this_update)
}

fn pair<'f>(find: Find<'_, 'f>, body: &str, chain: &str) -> Result<(&'f [u8], &'f [u8]), String> {
    match (find(body), find(chain)) {
        (Some(body), Some(chain)) => Ok((&body.bytes, &chain.bytes)),
        _ => Err("the signed text or its issuer is missing".into()),
    }
}

fn refused(what: impl Into<String>) -> impl FnOnce(DcapRefusal) -> PcsError {
    move |why| PcsError::Refused { what: what.into(), why }
}

fn chain_of(refusal: DcapRefusal) -> String {
    refusal.to_string()
}

fn list_name(ca: PckCa) -> String {
    format!("{COLLATERAL}/pck-{}.crl", ca.as_str())
}

fn issuer_name(ca: PckCa) -> String {
    format!("issuers/pck-{}.pem", ca.as_str())
}
