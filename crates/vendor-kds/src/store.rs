// SPDX-License-Identifier: Apache-2.0

//! The cache of what AMD said, in which everything is checked on its way in and on its way out.
//!
//! | name | what |
//! |---|---|
//! | `collateral/milan.crl` | the revocation list of a product's root |
//! | `collateral/ask-milan.der`, `collateral/ask-vlek-milan.der` | an intermediate authority |
//! | `vek/vcek-CHIP-BB-TT-SS-UU.der` | a chip's certificate, by chip id and TCB (on Turin with FMC first) |
//! | `vek/vlek-milan-BB-TT-SS-UU.der` | a cloud provider's certificate, by product and TCB |
//!
//! The folder `collateral` is one that a Steward takes as it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evidence_claims::{Endorsements, SigningKey, SnpProduct, Time, kind};
use evidence_crypto::Crypto;
use evidence_pki::hex;
use evidence_snp::{ListFacts, ProductRoots, Snp, SnpRefusal, VekFacts};
use vendor_fetch::{Cache, Generation, Stored, Update};

use crate::KdsError;
use crate::identity::Identity;
use crate::table::{Entry, Table};

/// The folder in the cache that a Steward can be given.
pub const COLLATERAL: &str = "collateral";

/// Something that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A VCEK's or VLEK's certificate, which has to be of that key.
    Vek(Identity, Vec<u8>),
    /// An intermediate authority: ASK or ASVK.
    Authority(SnpProduct, Vec<u8>),
    /// The revocation list of a product's root.
    List(SnpProduct, Vec<u8>),
}

/// What a file of the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A VCEK's or VLEK's certificate.
    Vek,
    /// An intermediate authority.
    Authority,
    /// A revocation list.
    List,
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
    /// Whether a certificate was held against a revocation list.
    pub revocation_checked: bool,
    /// Why it does not count.
    pub problem: Option<String>,
}

/// The cache, and what its contents are verified with.
#[derive(Debug)]
pub struct Store {
    cache: Cache,
    snp: Snp,
}

impl Store {
    /// Under AMD's roots, which are built in.
    #[must_use]
    pub fn new(cache: Cache, crypto: Arc<dyn Crypto>) -> Self {
        Self { cache, snp: Snp::new(crypto) }
    }

    /// Under other roots: for tests.
    #[must_use]
    pub fn with_roots(cache: Cache, crypto: Arc<dyn Crypto>, roots: Vec<ProductRoots>) -> Self {
        Self { cache, snp: Snp::with_roots(crypto, roots) }
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
    /// [`KdsError`]; the cache is as it was then.
    pub fn put(&self, pieces: &[Piece], now: Time) -> Result<Vec<Held>, KdsError> {
        let mut update = self.cache.update()?;
        let since = UNIX_EPOCH + Duration::from_secs(now.unix());
        let mut names = Vec::new();
        for piece in pieces {
            if let Piece::List(product, list) = piece {
                self.check_list(&update, *product, list, now)?;
                names.push(list_name(*product));
                update.put(list_name(*product), list.as_slice(), since);
            }
        }
        for piece in pieces {
            let (name, bytes) = match piece {
                Piece::List(..) => continue,
                Piece::Authority(product, der) => {
                    let lists = self.current_list(|name| update.get(name), *product, now);
                    let key = self
                        .snp
                        .verify_authority(*product, der, lists, now)
                        .map_err(refused("the intermediate authority"))?;
                    (authority_name(*product, key), der)
                }
                Piece::Vek(identity, der) => {
                    let find = |name: &str| update.get(name);
                    let vek = self.check_vek(find, identity, der, now)?;
                    identity.check(&vek)?;
                    (vek_name(identity), der)
                }
            };
            names.push(name.clone());
            update.put(name, bytes.as_slice(), since);
        }
        update.commit()?;
        Ok(self.held(now)?.into_iter().filter(|held| names.contains(&held.name)).collect())
    }

    /// Verifies a chain that a KDS answered with, and that it ends at the root which is built in.
    ///
    /// # Errors
    ///
    /// [`KdsError::Root`].
    pub fn check_chain(
        &self,
        product: SnpProduct,
        [authority, root]: [Vec<u8>; 2],
    ) -> Result<Piece, KdsError> {
        match self.snp.is_root(product, &root) {
            true => Ok(Piece::Authority(product, authority)),
            false => Err(KdsError::Root(product.as_str())),
        }
    }

    /// What of a table is for that key: its certificate, and its issuer and a list if they are there. A root
    /// in it has to be the one that is built in.
    ///
    /// # Errors
    ///
    /// [`KdsError::NotInTable`], [`KdsError::Root`].
    pub fn pieces_of_table(
        &self,
        table: &Table<'_>,
        identity: &Identity,
    ) -> Result<Vec<Piece>, KdsError> {
        let product = identity.product;
        if table.get(Entry::Ark).is_some_and(|root| !self.snp.is_root(product, root)) {
            return Err(KdsError::Root(product.as_str()));
        }
        let (entry, name) = entry_of(identity.key);
        let vek = table.get(entry).ok_or(KdsError::NotInTable(name))?;
        let mut pieces = vec![Piece::Vek(identity.clone(), vek.to_vec())];
        if let Some(authority) = table.get(Entry::Ask) {
            pieces.push(Piece::Authority(product, authority.to_vec()));
        }
        if let Some(list) = table.get(Entry::Crl) {
            pieces.push(Piece::List(product, list.to_vec()));
        }
        Ok(pieces)
    }

    /// The table that a host gives to its guests, of what is good now.
    ///
    /// # Errors
    ///
    /// [`KdsError::Cache`].
    pub fn table(&self, identity: &Identity, now: Time) -> Result<Vec<u8>, KdsError> {
        let all = self.endorsements(identity, now)?;
        let (entry, _) = entry_of(identity.key);
        let kinds = [(entry, kind::VEK), (Entry::Ask, kind::ASK), (Entry::Crl, kind::CRL)];
        let entries = kinds
            .into_iter()
            .filter_map(|(entry, kind)| all.first(kind).map(|bytes| (entry, bytes)))
            .collect();
        Ok(Table { entries, unknown: 0 }.to_bytes())
    }

    /// The certificate of a key, if it is there and good now.
    ///
    /// # Errors
    ///
    /// [`KdsError::Cache`] alone: one that is not good is as good as absent, and [`Store::held`] says why.
    pub fn vek(&self, identity: &Identity, now: Time) -> Result<Option<Vec<u8>>, KdsError> {
        let generation = self.cache.read()?;
        Ok(self.good_vek(&generation, identity, now).map(|stored| stored.bytes.clone()))
    }

    /// Everything that a Steward needs besides a report that this key signed: the certificate, its issuer
    /// where there is one in the cache, and the root's list. What is not good now is left out.
    ///
    /// # Errors
    ///
    /// [`KdsError::Cache`].
    pub fn endorsements(
        &self,
        identity: &Identity,
        now: Time,
    ) -> Result<Endorsements<'static>, KdsError> {
        let generation = self.cache.read()?;
        let mut all = Endorsements::new();
        if let Some(vek) = self.good_vek(&generation, identity, now) {
            all.push(kind::VEK, vek.bytes.clone())?;
        }
        let product = identity.product;
        let list = self.current_list(|name| generation.get(name), product, now);
        if let Some(authority) = generation.get(&authority_name(product, identity.key))
            && self.snp.verify_authority(product, &authority.bytes, list, now).is_ok()
        {
            all.push(kind::ASK, authority.bytes.clone())?;
        }
        if let Some(list) = list {
            all.push(kind::CRL, list.to_vec())?;
        }
        Ok(all)
    }

    /// All that the cache holds, each verified anew.
    ///
    /// # Errors
    ///
    /// [`KdsError::Cache`].
    pub fn held(&self, now: Time) -> Result<Vec<Held>, KdsError> {
        let generation = self.cache.read()?;
        let clock = UNIX_EPOCH + Duration::from_secs(now.unix());
        Ok(generation.files().iter().map(|file| self.look(&generation, file, clock, now)).collect())
    }

    fn look(&self, all: &Generation, file: &Stored, clock: SystemTime, now: Time) -> Held {
        let (what, seen) = self.judge(all, file, now);
        let (valid_until, revocation_checked, problem) = match seen {
            Ok((until, checked)) => (Some(until), checked, None),
            Err(problem) => (None, false, Some(problem)),
        };
        let (name, age) = (file.name.clone(), file.age(clock));
        Held { name, what, age, valid_until, revocation_checked, problem }
    }

    /// What a file is, and until when it counts.
    fn judge(
        &self,
        all: &Generation,
        file: &Stored,
        now: Time,
    ) -> (What, Result<(Time, bool), String>) {
        let find = |name: &str| all.get(name);
        for product in SnpProduct::ALL {
            if file.name == list_name(product) {
                let facts = self.snp.verify_list(product, &file.bytes, now);
                let facts = facts.map(|facts| (facts.next_update, true));
                return (What::List, facts.map_err(chain_of));
            }
            for key in [SigningKey::Vcek, SigningKey::Vlek] {
                if file.name == authority_name(product, key) {
                    let list = self.current_list(find, product, now);
                    let found = self.snp.verify_authority(product, &file.bytes, list, now);
                    let until = evidence_pki::Certificate::parse(&file.bytes)
                        .map_or(now, |certificate| certificate.not_after);
                    let seen = match found {
                        Ok(found) if found == key => Ok((until, list.is_some())),
                        Ok(_) => Err("it is the authority of the other kind of keys".into()),
                        Err(refusal) => Err(chain_of(refusal)),
                    };
                    return (What::Authority, seen);
                }
            }
        }
        if !file.name.starts_with("vek/") {
            return (What::Unknown, Err("it is nothing that belongs here".into()));
        }
        let seen = self.facts(find, &file.bytes, now).map_err(chain_of).and_then(|vek| {
            // A name is only a name: what the certificate says counts, and both have to agree.
            match name_of(&vek) == file.name {
                true => Ok((vek.valid_until, vek.revocation_checked)),
                false => Err("it is the certificate of another key than its name says".to_owned()),
            }
        });
        (What::Vek, seen)
    }

    fn good_vek<'g>(
        &self,
        all: &'g Generation,
        identity: &Identity,
        now: Time,
    ) -> Option<&'g Stored> {
        let stored = all.get(&vek_name(identity))?;
        let vek = self.facts(|name| all.get(name), &stored.bytes, now).ok()?;
        identity.check(&vek).ok()?;
        Some(stored)
    }

    /// A list that counts now. One that does not cannot hold anything up, nor vouch for anything.
    fn current_list<'f>(
        &self,
        find: impl Fn(&str) -> Option<&'f Stored>,
        product: SnpProduct,
        now: Time,
    ) -> Option<&'f [u8]> {
        let list = find(&list_name(product))?;
        self.snp.verify_list(product, &list.bytes, now).ok()?;
        Some(&list.bytes)
    }

    fn check_vek<'f>(
        &self,
        find: impl Fn(&str) -> Option<&'f Stored>,
        identity: &Identity,
        der: &[u8],
        now: Time,
    ) -> Result<VekFacts, KdsError> {
        let name = match identity.key {
            SigningKey::Vcek => "the VCEK's certificate",
            SigningKey::Vlek => "the VLEK's certificate",
        };
        self.facts(find, der, now).map_err(refused(name))
    }

    /// Verifies a VEK with the authorities and the list that are there.
    fn facts<'f>(
        &self,
        find: impl Fn(&str) -> Option<&'f Stored>,
        der: &[u8],
        now: Time,
    ) -> Result<VekFacts, SnpRefusal> {
        let mut all = Endorsements::new();
        let push = |all: &mut Endorsements<'_>, kind, bytes: &[u8]| {
            // More than evidence may come with: no VEK is so large.
            all.push(kind, bytes.to_vec()).map_err(|_| SnpRefusal::VekMissing)
        };
        push(&mut all, kind::VEK, der)?;
        for product in SnpProduct::ALL {
            for key in [SigningKey::Vcek, SigningKey::Vlek] {
                if let Some(authority) = find(&authority_name(product, key)) {
                    push(&mut all, kind::ASK, &authority.bytes)?;
                }
            }
        }
        let without = self.snp.verify_vek(&all, now)?;
        if let Some(list) = self.current_list(find, without.product, now) {
            push(&mut all, kind::CRL, list)?;
            return self.snp.verify_vek(&all, now);
        }
        Ok(without)
    }

    /// A list that is good, and not older than the one that is there.
    fn check_list(
        &self,
        update: &Update,
        product: SnpProduct,
        list: &[u8],
        now: Time,
    ) -> Result<ListFacts, KdsError> {
        let name = product.as_str();
        let facts = self.snp.verify_list(product, list, now);
        let facts = facts.map_err(refused(format!("the revocation list of {name}")))?;
        let old = update.get(&list_name(product));
        // One that has ended in the meantime is still a witness of what was known.
        let old = old.and_then(|old| {
            let parsed = evidence_pki::Crl::parse(&old.bytes).ok()?;
            self.snp.verify_list(product, &old.bytes, parsed.this_update).ok()
        });
        match old {
            Some(old) if (facts.this_update, facts.number) < (old.this_update, old.number) => {
                Err(KdsError::Older { product: name, new: facts.this_update, old: old.this_update })
            }
            _ => Ok(facts),
        }
    }
}

fn entry_of(key: SigningKey) -> (Entry, &'static str) {
    match key {
        SigningKey::Vcek => (Entry::Vcek, "VCEK"),
        SigningKey::Vlek => (Entry::Vlek, "VLEK"),
    }
}

fn refused(what: impl Into<String>) -> impl FnOnce(SnpRefusal) -> KdsError {
    move |why| KdsError::Refused { what: what.into(), why }
}

fn chain_of(refusal: SnpRefusal) -> String {
    let mut text = refusal.to_string();
    let mut cause = std::error::Error::source(&refusal);
    while let Some(one) = cause {
        text += &format!(": {one}");
        cause = one.source();
    }
    text
}

fn list_name(product: SnpProduct) -> String {
    format!("{COLLATERAL}/{}.crl", product.as_str().to_lowercase())
}

fn authority_name(product: SnpProduct, key: SigningKey) -> String {
    let infix = match key {
        SigningKey::Vcek => "",
        SigningKey::Vlek => "vlek-",
    };
    format!("{COLLATERAL}/ask-{infix}{}.der", product.as_str().to_lowercase())
}

fn vek_name(identity: &Identity) -> String {
    let levels = identity.levels().into_iter().map(|(_, level)| format!("-{level:02}"));
    let whose = match identity.key {
        SigningKey::Vcek => format!("vcek-{}", hex(&identity.chip_id)),
        SigningKey::Vlek => format!("vlek-{}", identity.product.as_str().to_lowercase()),
    };
    format!("vek/{whose}{}.der", levels.collect::<String>())
}

fn name_of(vek: &VekFacts) -> String {
    vek_name(&Identity {
        product: vek.product,
        key: vek.kind,
        chip_id: vek.extensions.hw_id.clone().unwrap_or_default(),
        tcb: vek.extensions.tcb,
    })
}
