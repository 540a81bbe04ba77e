// SPDX-License-Identifier: Apache-2.0

//! What is demanded of a Keep.

use evidence_pki::{Time, hex};
use steward_claims::CertificateClaims;

use crate::PartyRefusal;

/// The platform that protects nothing.
const DEVELOPMENT: &str = "development";

/// What the claims of a certificate have to say.
///
/// What is not demanded is not looked at, with one exception: a Keep without protection (`development`) is
/// refused unless [`Demands::allow_development`] says otherwise.
///
/// ```
/// use steward_relying_party::Demands;
///
/// let demands = Demands::new().platforms(["snp", "tdx"]).measurements([[0xaa; 48]]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    platforms: Option<Vec<String>>,
    measurements: Option<Vec<Vec<u8>>>,
    signers: Option<Vec<Vec<u8>>>,
    tcb_statuses: Option<Vec<String>>,
    allowed_advisories: Option<Vec<String>>,
    minimum_svns: Vec<(String, u64)>,
    workloads: Option<Vec<String>>,
    policies: Option<Vec<[u8; 32]>>,
    max_age: Option<u64>,
    fresh: bool,
    development: bool,
}

fn owned<T: Into<U>, U>(list: impl IntoIterator<Item = T>) -> Option<Vec<U>> {
    Some(list.into_iter().map(Into::into).collect())
}

/// Whether nothing is demanded, or one of the values.
fn is_one<T: PartialEq<U>, U: ?Sized>(wanted: &Option<Vec<T>>, found: &U) -> bool {
    wanted.as_ref().is_none_or(|list| list.iter().any(|one| one == found))
}

impl Demands {
    /// Any Keep on genuine hardware that the Steward let in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The platform is one of these: `snp`, `sgx`, `tdx`. An empty list refuses all, here and below.
    #[must_use]
    pub fn platforms<T: Into<String>>(mut self, list: impl IntoIterator<Item = T>) -> Self {
        self.platforms = owned(list);
        self
    }

    /// The launch measurement is one of these, of 32 or 48 bytes each.
    #[must_use]
    pub fn measurements<T: Into<Vec<u8>>>(mut self, list: impl IntoIterator<Item = T>) -> Self {
        self.measurements = owned(list);
        self
    }

    /// There is a signer, and it is one of these, of 32 or 48 bytes each.
    #[must_use]
    pub fn signers<T: Into<Vec<u8>>>(mut self, list: impl IntoIterator<Item = T>) -> Self {
        self.signers = owned(list);
        self
    }

    /// Intel's word on the platform is one of these. Where the vendor says none, which is AMD alone, this
    /// demands nothing; use [`Demands::minimum_svn`] there.
    #[must_use]
    pub fn tcb_statuses<T: Into<String>>(mut self, list: impl IntoIterator<Item = T>) -> Self {
        self.tcb_statuses = owned(list);
        self
    }

    /// No advisory concerns the platform but these.
    #[must_use]
    pub fn allowed_advisories<T: Into<String>>(
        mut self,
        list: impl IntoIterator<Item = T>,
    ) -> Self {
        self.allowed_advisories = owned(list);
        self
    }

    /// The certificate states a security version of that name, and it is at least `least`. Can be called for
    /// several names.
    #[must_use]
    pub fn minimum_svn(mut self, name: impl Into<String>, least: u64) -> Self {
        self.minimum_svns.push((name.into(), least));
        self
    }

    /// A workload was bound to the evidence, and its digest (`sha256:…`) is one of these.
    #[must_use]
    pub fn workloads<T: Into<String>>(mut self, list: impl IntoIterator<Item = T>) -> Self {
        self.workloads = owned(list);
        self
    }

    /// The policy that let the Keep in is one of these, by the SHA-256 of its text.
    #[must_use]
    pub fn policies(mut self, list: impl IntoIterator<Item = [u8; 32]>) -> Self {
        self.policies = owned(list);
        self
    }

    /// The evidence was verified at most so many seconds ago.
    #[must_use]
    pub fn max_age(mut self, seconds: u64) -> Self {
        self.max_age = Some(seconds);
        self
    }

    /// The evidence was made for a nonce of the Steward.
    #[must_use]
    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// Keeps without protection are accepted too, if `development` is among the platforms or no platforms are
    /// demanded. For trials: the host of such a Keep can read and change it.
    #[must_use]
    pub fn allow_development(mut self) -> Self {
        self.development = true;
        self
    }

    /// Whether claims say what is demanded.
    ///
    /// # Errors
    ///
    /// [`PartyRefusal`]: the first demand that they do not meet.
    pub fn check(&self, claims: &CertificateClaims, now: Time) -> Result<(), PartyRefusal> {
        let platform = &claims.platform;
        if platform == DEVELOPMENT && !self.development {
            return Err(PartyRefusal::Development);
        }
        if !is_one(&self.platforms, platform.as_str()) {
            return Err(PartyRefusal::Platform { found: platform.clone() });
        }
        if !is_one(&self.measurements, &claims.measurement) {
            return Err(PartyRefusal::Measurement { found: hex(&claims.measurement) });
        }
        if let Some(wanted) = &self.signers
            && !claims.signer.as_ref().is_some_and(|signer| wanted.contains(signer))
        {
            let found = claims.signer.as_deref().map_or_else(|| "(none)".to_owned(), hex);
            return Err(PartyRefusal::Signer { found });
        }
        self.check_vendor(claims)?;
        if let Some(wanted) = &self.workloads {
            let found = claims.workload.as_ref().map(|workload| workload.digest());
            if !found.is_some_and(|found| wanted.iter().any(|one| one == found)) {
                let found = found.unwrap_or("(none)").to_owned();
                return Err(PartyRefusal::Workload { found });
            }
        }
        if !is_one(&self.policies, &claims.policy) {
            return Err(PartyRefusal::Policy { found: hex(&claims.policy) });
        }
        if let Some(seconds) = self.max_age
            && claims.verified_at.plus(seconds) < now
        {
            return Err(PartyRefusal::Age { verified_at: claims.verified_at });
        }
        if self.fresh && !claims.fresh {
            return Err(PartyRefusal::NotFresh);
        }
        Ok(())
    }

    /// What the vendor says of the platform.
    fn check_vendor(&self, claims: &CertificateClaims) -> Result<(), PartyRefusal> {
        // AMD states no status, and development evidence has AMD's form.
        let silent = matches!(claims.platform.as_str(), "snp" | DEVELOPMENT);
        match (&self.tcb_statuses, &claims.tcb_status) {
            (Some(wanted), Some(status)) if !wanted.contains(status) => {
                return Err(PartyRefusal::TcbStatus { found: status.clone() });
            }
            (Some(_), None) if !silent => {
                return Err(PartyRefusal::TcbStatus { found: "(none)".to_owned() });
            }
            _ => {}
        }
        if let Some(allowed) = &self.allowed_advisories
            && let Some(found) = claims.advisories.iter().find(|one| !allowed.contains(one))
        {
            return Err(PartyRefusal::Advisory { found: found.clone() });
        }
        for (name, least) in &self.minimum_svns {
            // Each of that name, should there be several.
            let mut found = claims.svns.iter().filter(|(other, _)| other == name).peekable();
            if found.peek().is_none() || found.any(|(_, value)| value < least) {
                return Err(PartyRefusal::Svn { name: name.clone(), least: *least });
            }
        }
        Ok(())
    }
}
