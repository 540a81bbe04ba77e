// SPDX-License-Identifier: Apache-2.0

//! Each key of a policy has its sentence, and it says what the key says.

use steward_policy::Policy;

const ROOT: &str = include_str!("data/root.pem");

/// What is said of a policy.
#[track_caller]
fn explained(text: &str) -> Vec<String> {
    Policy::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}")).explain()
}

/// `count` bytes in hexadecimal digits, all the same.
fn digits(byte: &str, count: usize) -> String {
    byte.repeat(count)
}

/// A policy with every key set, and all that is said of it.
#[test]
fn a_policy_with_every_key_is_explained() {
    let text = include_str!("data/every-key.toml").replace("ROOT", ROOT);
    assert_eq!(explained(&text).join("\n"), include_str!("data/every-key.txt").trim_end());
}

#[test]
fn each_value_of_a_key_has_its_sentence() {
    let (chip, other) = (digits("0a", 64), digits("0b", 64));
    for (section, rule, sentence) in [
        (
            "sgx",
            "allowed_advisories = []".to_owned(),
            "[sgx] No advisory may concern the platform.",
        ),
        (
            "tdx",
            String::new(),
            "[tdx] Advisories are not looked at for themselves; the status counts.",
        ),
        (
            "snp",
            "allow_vlek = true\nvmpl = [2, 3]".to_owned(),
            "[snp] The report was asked for at VMPL 2 or 3.",
        ),
        (
            "snp",
            "platform_info_flags = \"TSME\"".to_owned(),
            "[snp] Of the platform's flags SMT and TSME exactly this one is set: TSME.",
        ),
        ("snp", format!("chip_ids = [\"{chip}\"]"), "[snp] The chip is 0a0a0a0a0a0a0a0a…."),
        (
            "snp",
            format!("chip_ids = [\"{chip}\", \"{other}\"]"),
            "[snp] The chip is one of 2 (0a0a0a0a0a0a0a0a…, 0b0b0b0b0b0b0b0b…).",
        ),
        (
            "snp",
            "csp_ids = [\"one\", \"two\"]".to_owned(),
            "[snp] Reports are signed by a VLEK of one of these providers: one, two.",
        ),
        (
            "snp",
            "allow_vlek = false".to_owned(),
            "[snp] Reports are signed by the chip's own key (VCEK), not by a VLEK.",
        ),
        ("sgx", "misc_select = []".to_owned(), "[sgx] Of MISCSELECT these bits may be set: none."),
    ] {
        let explained = explained(&format!("[{section}]\nany_code = true\n{rule}"));
        assert!(explained.iter().any(|line| line == sentence), "{sentence}\n{explained:#?}");
    }
}

#[test]
fn what_is_good_enough_needs_no_warning() {
    // Only products that get in need a minimum.
    let text = "[snp]\nany_code = true\nproducts = [\"Milan\"]\nminimum_tcb.milan.snp = 24";
    let said = explained(text);
    assert!(!said.iter().any(|line| line.contains("minimum TCB")), "{said:#?}");
    let two = text.replace("[\"Milan\"]", "[\"Milan\", \"Turin\"]");
    let said = explained(&two);
    assert!(said.iter().any(|line| line.contains("no minimum TCB for Turin,")), "{said:#?}");
    // Code is of no interest in development, unless somebody names some.
    let said = explained(&format!("[development]\nroot = '''{ROOT}'''"));
    assert!(!said.iter().any(|line| line.contains("whatever code")), "{said:#?}");
    // Rules for stand-ins are told as those for hardware.
    let said = explained(&format!(
        "[development]\nroot = '''{ROOT}'''\n[development.sgx]\nany_code = true\nconfig_svn = 2"
    ));
    let line = "[development.sgx] The enclave's CONFIGSVN is at least 2.".to_owned();
    assert!(said.contains(&line), "{said:#?}");
    assert!(said.iter().all(|line| !line.contains("[sgx]")), "{said:#?}");
    // Flags of a processor without `Debug`.
    let said = explained("[sgx]\nany_code = true\nfeatures = [\"KSS\"]");
    assert!(!said.iter().any(|line| line.contains("has no effect")), "{said:#?}");
    assert!(
        said.contains(&"[sgx] Of the attributes of an enclave these may be set: KSS.".to_owned())
    );
}

#[test]
fn code_is_told_by_what_is_wanted_of_it() {
    let (one, two) = (digits("01", 32), digits("02", 32));
    for (rules, sentence) in [
        (
            format!("hash_blacklist = [\"{one}\"]"),
            "[sgx] A Keep gets in only if its measurement is not 0101010101010101….",
        ),
        (
            format!("signer = [\"{one}\"]\nhash_blacklist = [\"{two}\"]"),
            "[sgx] A Keep gets in only if it is signed by 0101010101010101…, and its measurement is not \
             0202020202020202….",
        ),
        ("any_code = true".to_owned(), "[sgx] A Keep gets in whatever code it runs."),
    ] {
        let explained = explained(&format!("[sgx]\n{rules}"));
        assert!(explained.iter().any(|line| line == sentence), "{sentence}\n{explained:#?}");
    }
}

#[test]
fn long_lists_are_cut() {
    let list: String =
        (1..=5).map(|i| format!("\"{}\",", digits(&format!("{i:02}"), 32))).collect();
    let explained = explained(&format!("[sgx]\nhash = [{list}]"));
    let shown = "(0101010101010101…, 0202020202020202…, 0303030303030303…, 0404040404040404…, …)";
    assert!(explained[2].contains(&format!("is one of 5 {shown}")), "{explained:#?}");
}

#[test]
fn spans_of_time_are_told_in_the_largest_unit_that_fits() {
    for (lifetime, told) in [
        ("1d", "1 day"),
        ("24h", "1 day"),
        ("36h", "36 hours"),
        ("60m", "1 hour"),
        ("90m", "90 minutes"),
        ("60s", "1 minute"),
        ("61s", "61 seconds"),
    ] {
        let text = format!("[sgx]\nany_code = true\n[certificate]\nlifetime = \"{lifetime}\"");
        let wanted = format!("A certificate is valid for {told} at most");
        let explained = explained(&text);
        assert!(explained.iter().any(|line| line.starts_with(&wanted)), "{wanted}");
        assert!(!explained.iter().any(|line| line.starts_with("It begins")), "{explained:#?}");
    }
}

#[test]
fn workloads_are_told_with_their_names() {
    let digest = format!("sha256:{}", digits("ab", 32));
    let rules = |more: &str| explained(&format!("[sgx]\nany_code = true\n{more}"));
    let rule = |more: &str| rules(&format!("[[workload]]\ndigest = \"{digest}\"\n{more}"));
    for (more, ending) in [
        ("", "gets certificates."),
        ("slug = \"enarx/app:1\"", "as enarx/app:1 gets certificates."),
        (
            "dns_names = [\"a.example\", \"b.example\"]",
            "gets certificates, with the DNS names a.example, b.example.",
        ),
    ] {
        let told = rule(more);
        let wanted = format!("The workload {digest} {ending}");
        assert!(told.contains(&wanted), "{wanted}\n{told:#?}");
        assert!(told.contains(&"No other workload gets a certificate.".to_owned()));
    }
    let bound =
        "Any workload gets a certificate, as long as one is bound to the evidence.".to_owned();
    assert!(rules("[certificate]\nrequire_workload = true").contains(&bound));
    assert!(!rules("").contains(&bound));
}
