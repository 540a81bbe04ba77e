// SPDX-License-Identifier: Apache-2.0

//! Policies as texts: where a fault is and what is said about it, and what a policy is said to let in.

use std::collections::BTreeSet;

use evidence_claims::Platform;
use evidence_crypto::{AwsLc, Crypto};
use proptest::prelude::*;
use steward_policy::Policy;

const PUBLISHED: &str = include_str!("data/published.toml");
const ROOT: &str = include_str!("data/root.pem");

#[track_caller]
fn fault(text: &str) -> String {
    match Policy::parse(text) {
        Ok(_) => panic!("this was read:\n{text}"),
        Err(error) => error.in_file("policy.toml"),
    }
}

#[test]
fn the_published_example_is_a_policy() {
    let policy = Policy::parse(PUBLISHED).unwrap();
    assert_eq!(policy.platforms(), [Platform::Sgx, Platform::Snp]);
    assert_eq!(policy.text(), PUBLISHED);
    assert_eq!(policy.digest(&AwsLc), AwsLc.sha256(&[PUBLISHED.as_bytes()]));
    assert_eq!(policy.certificate().lifetime, 28 * 86_400);
    assert_eq!(policy.certificate().backdate, 0);
    assert!(policy.workloads().is_empty());
}

#[test]
fn the_values_of_the_slide_are_too_short_and_that_is_said() {
    let cut = PUBLISHED.replace("b953916b503f223b15000000000000000000000000", "b953916b503f223b15");
    assert_eq!(
        fault(&cut),
        "policy.toml:12:11: 48 bytes are wanted here (96 hexadecimal digits), and there are 36"
    );
}

#[test]
fn faults_have_a_place() {
    for (text, wanted) in [
        (
            "[sgx]\nsinger = []",
            "policy.toml:2:1: there is no key `singer` in [sgx]; did you mean `signer`?",
        ),
        (
            "[snp]\nany_code = true\n  hash-blacklist = []",
            "policy.toml:3:3: there is no key `hash-blacklist` in [snp]; did you mean `hash_blacklist`?",
        ),
        (
            "[nitro]\n",
            "policy.toml:1:2: there is no key `nitro` at the top of a policy; there are: sgx, snp, tdx, \
             development, certificate, workload",
        ),
        ("[sgx\n", "policy.toml:1:5: this is not TOML"),
        (
            "[sgx]\nany_code = true\nany_code = true",
            "policy.toml:3:1: this is not TOML: duplicate key",
        ),
        ("sgx = 1", "policy.toml:1:7: `sgx` is a table, and this is of type integer"),
        (
            "[sgx]\nhash = \"00\"",
            "policy.toml:2:8: `hash` is a list of texts: `[\"…\"]`, and this is of type string",
        ),
        (
            "[sgx]\nhash = [1]",
            "policy.toml:2:9: `hash` is a list of texts: `[\"…\"]`, and this is of type integer",
        ),
        (
            "[sgx]\nhash = []",
            "policy.toml:2:8: `hash` is empty and would let nothing in; leave it out to not look at it",
        ),
        (
            "[sgx]\nhash = [\"0g\"]",
            "policy.toml:2:9: bytes are written in hexadecimal digits, and `g` is none",
        ),
        (
            "[sgx]\nhash = [\"000\"]",
            "policy.toml:2:9: bytes are written in pairs of hexadecimal digits, and there are 3 digits",
        ),
        (
            "[sgx]\nhash = [\"00\"]",
            "policy.toml:2:9: 32 bytes are wanted here (64 hexadecimal digits), and there are 1",
        ),
        (
            "[snp]\nany_code = true\nchip_ids = [\"00\"]",
            "policy.toml:3:13: 64 bytes are wanted here, or 8 for a Turin, and there are 1",
        ),
        ("[sgx]\n", "policy.toml:1:1: nothing here says which code may run: give at least one of"),
        ("[snp]\nhash_blacklist = []", "policy.toml:1:1: nothing here says which code may run"),
        ("[tdx]\nsigner = []", "policy.toml:2:1: there is no key `signer` in [tdx]"),
        (
            "[sgx]\nany_code = true\nfeatures = [\"debug\"]",
            "policy.toml:3:13: `debug` is not known; did you mean `Debug`?",
        ),
        (
            "[sgx]\nany_code = true\nfeatures = [\"SGX3\"]",
            "policy.toml:3:13: `SGX3` is not known; there are: CET, Debug, EInitKey, KSS, ProvisioningKey, \
             AEXNotify",
        ),
        (
            "[sgx]\nany_code = true\nenclave_product_id = 65536",
            "policy.toml:3:22: `enclave_product_id` is a number from 0 to 65535",
        ),
        (
            "[sgx]\nany_code = true\nenclave_product_id = -1",
            "policy.toml:3:22: `enclave_product_id` is a number from 0 to 65535",
        ),
        (
            "[sgx]\nany_code = true\nenclave_product_id = \"0\"",
            "policy.toml:3:22: `enclave_product_id` is a number from 0 to 65535, and this is of type string",
        ),
        (
            "[sgx]\nany_code = true\nrequire_qe_identity = 1",
            "policy.toml:3:23: `require_qe_identity` is `true` or `false`, and this is of type integer",
        ),
        (
            "[tdx]\nany_code = true\naccepted_tcb_statuses = [\"Uptodate\"]",
            "policy.toml:3:26: `Uptodate` is not known; did you mean `UpToDate`?",
        ),
        (
            "[tdx]\nany_code = true\naccepted_tcb_statuses = []",
            "policy.toml:3:25: `accepted_tcb_statuses` is empty",
        ),
        (
            "[tdx]\nany_code = true\nallowed_advisories = [\"a b\"]",
            "policy.toml:3:23: `a b` is no advisory like `INTEL-SA-00615`",
        ),
        (
            "[snp]\nany_code = true\nabi = \"new\"",
            "policy.toml:3:7: `abi` is a range of versions like `>=1.51`, and this is none",
        ),
        ("[snp]\nany_code = true\nvmpl = [4]", "policy.toml:3:9: `vmpl` is a number from 0 to 3"),
        ("[snp]\nany_code = true\nvmpl = []", "policy.toml:3:8: `vmpl` is empty"),
        (
            "[snp]\nany_code = true\nplatform_info_flags = \"SMT\"",
            "policy.toml:3:23: `SMT` is not known; did you mean `SME`?",
        ),
        (
            "[snp]\nany_code = true\n[snp.minimum_tcb.bergamo]\nsnp = 1",
            "policy.toml:3:18: there is no key `bergamo` in [snp.minimum_tcb]; there are: milan, genoa, turin",
        ),
        (
            "[snp]\nany_code = true\n[snp.minimum_tcb.milan]\nfmc = 1",
            "policy.toml:4:1: there is no key `fmc` in [snp.minimum_tcb.milan]",
        ),
        (
            "[snp]\nany_code = true\n[snp.minimum_tcb.milan]\nsnp = 256",
            "policy.toml:4:7: `snp` is a number from 0 to 255",
        ),
        ("[development]\n", "policy.toml:1:1: `root` is missing"),
        ("[development]\nroot = 1", "policy.toml:2:8: `root` is a certificate in PEM"),
        ("[development]\nroot = []", "policy.toml:2:8: there are from one to eight roots"),
        ("[development]\nroot = \"x\"", "policy.toml:2:8: this is no certificate in PEM"),
        (
            "[certificate]\nlifetime = \"4w\"",
            "policy.toml:2:12: `4w` is no span of time like `28d`",
        ),
        ("[certificate]\nlifetime = \"399d\"", "policy.toml:2:12: `399d` is no span of time"),
        ("[certificate]\nlifetime = \"59s\"", "policy.toml:2:12: `59s` is no span of time"),
        ("[certificate]\nlifetime = \"\"", "policy.toml:2:12: `` is no span of time"),
        ("[certificate]\nbackdate = \"2d\"", "policy.toml:2:12: `2d` is no span of time"),
        ("[certificate]\ndns_names = [\"*.a\"]", "policy.toml:2:14: a wildcard would let one Keep"),
        ("[certificate]\ndns_names = [\"A.b\"]", "policy.toml:2:14: `A.b` is no DNS name"),
        ("[certificate]\ndns_names = [\"1.2.3.4\"]", "policy.toml:2:14: `1.2.3.4` is no DNS name"),
        (
            "[workload]\ndigest = \"\"",
            "policy.toml:1:1: `workload` is an array of tables: write `[[workload]]`",
        ),
        ("[[workload]]\nslug = \"user/repo\"", "policy.toml:1:1: `digest` is missing"),
        (
            "[[workload]]\ndigest = \"md5:00\"",
            "policy.toml:2:10: the digest of a workload is `sha256:`",
        ),
    ] {
        let found = fault(text);
        assert!(found.starts_with(wanted), "{text}\nwanted: {wanted}\nfound:  {found}");
    }
}

#[test]
fn contradictions_are_faults() {
    let (hash, other) = ("ab".repeat(32), "AB".repeat(32));
    // The same hash in another spelling.
    let text = format!("[sgx]\nhash = [\"{hash}\"]\nhash_blacklist = [\"{other}\"]");
    assert!(
        fault(&text).starts_with("policy.toml:3:18: a hash is in `hash` and in `hash_blacklist`")
    );
    let text = format!("[sgx]\nhash = [\"{hash}\"]\nany_code = true");
    assert!(
        fault(&text).starts_with("policy.toml:3:12: `any_code` says that code does not matter")
    );
    let digest = "cd".repeat(48);
    let text = format!(
        "[snp]\nany_code = true\nid_key_digest = [\"{digest}\"]\nid_key_digest_blacklist = [\"{digest}\"]"
    );
    assert!(fault(&text).starts_with("policy.toml:4:27: a digest is in `id_key_digest` and in"));
    let workload = format!("[[workload]]\ndigest = \"sha256:{hash}\"\n");
    assert!(
        fault(&workload.repeat(2)).starts_with("policy.toml:4:10: this workload is given twice")
    );
    let workload = format!("[[workload]]\nslug = \"repo\"\ndigest = \"sha256:{hash}\"\n");
    assert!(
        fault(&workload).starts_with("policy.toml:2:8: a slug is `[host[:port]/]user/repo[:tag]`")
    );
}

#[test]
fn columns_count_characters() {
    let text = "[certificate]\ndns_names = [\"a.b\"] # äöü\n\"ä\" = 1";
    assert!(fault(text).starts_with("policy.toml:3:1: there is no key `ä` in [certificate]"));
    let text = "[certificate]\ndns_names = [\"ä\", \"ö\"]";
    assert!(fault(text).starts_with("policy.toml:2:14: `ä` is no DNS name"));
}

#[test]
fn what_is_too_much_is_refused() {
    assert!(
        fault(&" ".repeat(Policy::MAX_SIZE + 1))
            .starts_with("policy.toml:1:1: a policy has at most")
    );
    let list = "\"INTEL-SA-00001\",".repeat(1025);
    let text = format!("[sgx]\nany_code = true\nallowed_advisories = [{list}]");
    assert!(fault(&text).contains("`allowed_advisories` has more than 1024 entries"));
    let text = format!("[snp]\nany_code = true\ncsp_ids = [\"{}\"]", "a".repeat(1025));
    assert!(
        fault(&text)
            .starts_with("policy.toml:3:12: this text in `csp_ids` has more than 1024 bytes")
    );
    let text = format!("[development]\nroot = \"{}\"", "a".repeat((16 << 10) + 1));
    assert!(fault(&text).starts_with("policy.toml:2:8: this `root` is too long for a certificate"));
}

#[test]
fn roots_are_certificates() {
    for root in [format!("'''{ROOT}'''"), format!("['''{ROOT}''', '''{ROOT}''']")] {
        let policy = Policy::parse(&format!("[development]\nroot = {root}")).unwrap();
        assert!(policy.development_roots().iter().all(|root| root.starts_with(&[0x30, 0x82])));
    }
    let key = ROOT.replace("MIIB2z", "MIIB2y");
    assert!(
        fault(&format!("[development]\nroot = '''{key}'''")).contains("in this PEM: malformed")
    );
}

/// What `steward policy check` says of the published example.
#[test]
fn the_published_example_is_explained() {
    let explained = Policy::parse(PUBLISHED).unwrap().explain().join("\n");
    assert_eq!(explained, include_str!("data/published.txt").trim_end());
}

#[test]
fn an_empty_policy_is_explained() {
    let explained = Policy::parse("").unwrap().explain();
    assert_eq!(explained, ["This policy has no section for a platform, so it refuses every Keep."]);
}

#[test]
fn weak_spots_are_warned_of() {
    let warnings = |text: &str| -> Vec<String> {
        let policy = Policy::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        policy.explain().into_iter().filter(|line| line.starts_with("Warning:")).collect()
    };
    let signer = "00".repeat(32);
    let service_td = "09".repeat(48);
    for (text, word) in [
        ("[sgx]\nany_code = true".to_owned(), "ANY CODE"),
        (format!("[sgx]\nhash_blacklist = [\"{signer}\"]"), "ANY CODE"),
        (format!("[sgx]\nsigner = [\"{signer}\"]"), "any version that they ever signed"),
        ("[sgx]\nany_code = true\nrequire_qe_identity = false".to_owned(), "QE identity"),
        ("[sgx]\nany_code = true\ntcb_grace_days = 30".to_owned(), "until 30 days after"),
        ("[sgx]\nany_code = true\nfeatures = [\"Debug\"]".to_owned(), "has no effect"),
        (
            "[tdx]\nany_code = true\naccepted_tcb_statuses = [\"UpToDate\", \"OutOfDate\"]"
                .to_owned(),
            "accepts OutOfDate",
        ),
        (format!("[tdx]\nany_code = true\nmr_service_td = [\"{service_td}\"]"), "elsewhere"),
        ("[tdx]\nany_code = true\nrequire_sept_ve_disable = false".to_owned(), "SEPT_VE_DISABLE"),
        ("[snp]\nany_code = true".to_owned(), "no minimum TCB for Milan, Genoa, Turin"),
        ("[snp]\nany_code = true\npolicy_flags = [\"Debug\"]".to_owned(), "have no effect"),
        (format!("[development]\nroot = '''{ROOT}'''"), "UNPROTECTED"),
        ("[snp]\nany_code = true".to_owned(), "the workload does not matter"),
    ] {
        let warnings = warnings(&text);
        assert!(warnings.iter().any(|line| line.contains(word)), "{word}: {warnings:#?}");
    }
    let strict = format!(
        "[tdx]\nhash = [\"{service_td}\"]\n[certificate]\nrequire_workload = true\nrequire_nonce = true"
    );
    assert_eq!(warnings(&strict), Vec::<String>::new());
}

/// The policies in the documentation are policies, and it describes just the keys that there are.
#[test]
fn the_documentation_is_right() {
    let docs = include_str!("../../../docs/steward-policy.md");
    let mut examples = String::new();
    for block in docs.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        Policy::parse(block)
            .unwrap_or_else(|error| panic!("{}\n{block}", error.in_file("example")));
        examples.push_str(block);
    }
    let described: BTreeSet<&str> =
        docs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut known = BTreeSet::new();
    for section in [
        "[sgx]",
        "[snp]",
        "[snp.minimum_tcb.turin]",
        "[tdx]",
        "[development]",
        "[certificate]",
        "[[workload]]",
    ] {
        assert!(
            examples.contains(&section.replace("turin", "milan")),
            "{section} is in no example"
        );
        // What stands there instead is said of a key that resembles none.
        let before = if section.contains('.') { "[snp]\nany_code = true\n" } else { "" };
        let message = fault(&format!("{before}{section}\n0000000000000000 = 0"));
        let (_, keys) = message.split_once("there are: ").unwrap();
        known.extend(keys.split(", ").map(str::to_owned));
    }
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    assert_eq!(described, known);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        if let Err(error) = Policy::parse(&text) {
            prop_assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty());
        }
    }

    #[test]
    fn toml_of_whatever_shape_is_read_or_refused(
        section in "sgx|snp|tdx|development|certificate|workload|other",
        key in "signer|hash|features|abi|vmpl|root|lifetime|dns_names|digest|minimum_tcb|xfam|[a-z_]{1,9}",
        value in "true|-?[0-9]{1,22}|0x[0-9a-f]{1,16}|\"[^\"\\\\\n\r]{0,99}\"|\\[(\"[0-9a-zA-Z]{0,130}\",){0,3}\\]\
                  |\\{ a = 1 \\}|1979-05-27|1e3|inf",
        array in any::<bool>(),
    ) {
        let header = if array { format!("[[{section}]]") } else { format!("[{section}]") };
        if let Ok(policy) = Policy::parse(&format!("{header}\n{key} = {value}\nany_code = true")) {
            prop_assert!(!policy.explain().is_empty());
        }
    }

    #[test]
    fn a_changed_policy_is_read_or_refused(
        at in 0..PUBLISHED.len(),
        with in "[\\[\\]\"=#a-zA-Z0-9\n,ä]{0,3}",
        cut in 0..4usize,
    ) {
        let (front, back) = PUBLISHED.split_at(at);
        let text = format!("{front}{with}{}", back.get(cut..).unwrap_or_default());
        match Policy::parse(&text) {
            Ok(policy) => prop_assert!(!policy.explain().is_empty()),
            Err(error) => prop_assert!(error.line <= text.lines().count() + 1),
        }
    }
}
