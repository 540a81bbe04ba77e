// SPDX-License-Identifier: Apache-2.0

//! AMD's roots, as AMD publishes them; see `roots/README.md`.

use evidence_claims::SnpProduct;

use crate::snp::ProductRoots;

macro_rules! roots {
    ($product:ident, $folder:literal) => {
        ProductRoots {
            product: SnpProduct::$product,
            ark: include_bytes!(concat!("../roots/", $folder, "/ark.der")).to_vec(),
            ask: include_bytes!(concat!("../roots/", $folder, "/ask.der")).to_vec(),
            asvk: include_bytes!(concat!("../roots/", $folder, "/asvk.der")).to_vec(),
        }
    };
}

/// The authorities of all products.
pub(crate) fn amd() -> Vec<ProductRoots> {
    vec![roots!(Milan, "milan"), roots!(Genoa, "genoa"), roots!(Turin, "turin")]
}

#[cfg(test)]
mod tests {
    use evidence_crypto::{AwsLc, Crypto};

    use super::*;

    #[test]
    fn roots_are_the_published_ones() {
        let readme = include_str!("../roots/README.md");
        for roots in amd() {
            let folder = roots.product.as_str().to_lowercase();
            for (name, der) in [("ark", &roots.ark), ("ask", &roots.ask), ("asvk", &roots.asvk)] {
                let digest: String =
                    AwsLc.sha256(&[der]).iter().map(|byte| format!("{byte:02x}")).collect();
                let row = format!("| `{folder}/{name}.der` | `{digest}` |");
                assert!(readme.contains(&row), "{row} is not in the README");
            }
        }
        // The digest that stands in many places, so that README and files cannot drift together.
        for digest in [
            "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
            "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
            "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
        ] {
            assert!(readme.contains(digest), "{digest}");
        }
    }
}
