// SPDX-License-Identifier: Apache-2.0

//! AMD's Key Distribution Service (AMD 57230, "VCEK Certificate and KDS Interface Specification").

use evidence_claims::{SigningKey, SnpProduct};
use evidence_pki::{Certificate, Crl, hex, pem_blocks};
use vendor_fetch::{Fetcher, Url};

use crate::KdsError;
use crate::identity::Identity;

/// AMD's own.
pub const DEFAULT_URL: &str = "https://kdsintf.amd.com/";

/// A KDS, or what stands for it. What it answers is not believed.
#[derive(Debug, Clone)]
pub struct Kds {
    fetcher: Fetcher,
    base: Url,
}

impl Kds {
    /// The service at `base`, to whose path those of the interface are added.
    #[must_use]
    pub fn new(fetcher: Fetcher, base: Url) -> Self {
        Self { fetcher, base }
    }

    /// Where the certificate of a chip's key is: by product, chip and TCB, each level in two decimal digits
    /// at least. Turin has shorter chip ids and one level more.
    #[must_use]
    pub fn vcek_url(&self, identity: &Identity) -> Url {
        let chip = hex(&identity.chip_id);
        let mut url = self.url(&["vcek", "v1", identity.product.as_str(), &chip]);
        let levels =
            identity.levels().into_iter().map(|(name, level)| format!("{name}={level:02}"));
        url.set_query(Some(&levels.collect::<Vec<_>>().join("&")));
        url
    }

    /// The certificate of a chip's key, DER.
    ///
    /// # Errors
    ///
    /// [`KdsError::Vlek`] for another key: VLEKs are given to cloud providers, not to everybody.
    /// [`KdsError::Fetch`].
    pub async fn vcek(&self, identity: &Identity) -> Result<Vec<u8>, KdsError> {
        if identity.key != SigningKey::Vcek {
            return Err(KdsError::Vlek);
        }
        let url = self.vcek_url(identity);
        Ok(self.fetcher.get(&url, Certificate::MAX_SIZE).await?.body)
    }

    /// The intermediate authority that issues such keys and the root, in DER.
    ///
    /// # Errors
    ///
    /// [`KdsError::Chain`], [`KdsError::Fetch`].
    pub async fn chain(
        &self,
        product: SnpProduct,
        key: SigningKey,
    ) -> Result<[Vec<u8>; 2], KdsError> {
        let kind = match key {
            SigningKey::Vcek => "vcek",
            SigningKey::Vlek => "vlek",
        };
        let url = self.url(&[kind, "v1", product.as_str(), "cert_chain"]);
        let answer = self.fetcher.get(&url, 4 * Certificate::MAX_SIZE).await?;
        let wrong = || KdsError::Chain(url.to_string());
        let blocks = pem_blocks(&answer.body, "CERTIFICATE").map_err(|_| wrong())?;
        blocks.try_into().map_err(|_| wrong())
    }

    /// The revocation list of a product's root, DER.
    ///
    /// # Errors
    ///
    /// [`KdsError::Fetch`].
    pub async fn list(&self, product: SnpProduct) -> Result<Vec<u8>, KdsError> {
        let url = self.url(&["vcek", "v1", product.as_str(), "crl"]);
        Ok(self.fetcher.get(&url, Crl::MAX_SIZE).await?.body)
    }

    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only a URL that cannot be a base has no path, and `https` ones can.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url.set_query(None);
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kds(base: &str) -> Kds {
        let base = Url::parse(base).unwrap();
        Kds::new(Fetcher::new(&base, &[], Default::default()).unwrap(), base)
    }

    #[test]
    fn urls_are_those_of_the_specification() {
        let milan = Identity::new(
            SnpProduct::Milan,
            SigningKey::Vcek,
            &[0xab; 64],
            [2, 0, 0, 0, 0, 0, 6, 219],
        );
        let chip = "ab".repeat(64);
        assert_eq!(
            kds("http://localhost").vcek_url(&milan.unwrap()).as_str(),
            format!(
                "http://localhost/vcek/v1/Milan/{chip}?blSPL=02&teeSPL=00&snpSPL=06&ucodeSPL=219"
            )
        );
        let turin = Identity::new(
            SnpProduct::Turin,
            SigningKey::Vcek,
            &[0xcd; 8],
            [1, 1, 1, 4, 0, 0, 0, 81],
        );
        assert_eq!(
            kds("http://localhost/mirror/").vcek_url(&turin.unwrap()).as_str(),
            "http://localhost/mirror/vcek/v1/Turin/cdcdcdcdcdcdcdcd?\
             fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"
        );
    }
}
