// SPDX-License-Identifier: Apache-2.0

//! The JSON schema of a policy, which editors show and check with; it is written here, and
//! `docs/steward-policy.schema.json` is what comes out.
//!
//! It is the parser's grammar a second time, so it is held against it: the keys of each section are those
//! that the parser knows, and both have to agree about many values. Descriptions are the rules of
//! `docs/steward-policy.md`, word for word. What JSON Schema cannot say is in `LENIENT`; never may it
//! refuse what the parser takes.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::{Map, Value, json};
use steward_policy::{Policy, SCHEMA};

const PAGE: &str = include_str!("../../../docs/steward-policy.md");
const ROOT: &str = include_str!("data/root.pem");

/// Keys of which the schema says less than the parser: syntax and ranges that patterns cannot have.
const LENIENT: &[&str] = &["abi", "root", "lifetime", "backdate", "slug"];

const SECTIONS: &[&str] = &["sgx", "snp", "tdx", "development", "certificate", "workload"];
const PRODUCTS: &[&str] = &["milan", "genoa", "turin"];

// Types.

fn flag(default: bool) -> Value {
    json!({ "type": "boolean", "default": default })
}

fn number(maximum: u64) -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": maximum })
}

fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn words(words: &[&str]) -> Value {
    json!({ "enum": words })
}

fn hex(bytes: usize) -> Value {
    text(&format!("^[0-9A-Fa-f]{{{}}}$", 2 * bytes))
}

/// A list that may be empty.
fn list(items: Value) -> Value {
    json!({ "type": "array", "maxItems": 1024, "items": items })
}

/// A list of what may be, which is never empty.
fn some(items: Value) -> Value {
    with(list(items), "minItems", json!(1))
}

fn with(mut schema: Value, keyword: &str, value: Value) -> Value {
    schema[keyword] = value;
    schema
}

/// The types of the keys that say which code runs.
fn code(bytes: usize) -> Vec<(&'static str, Value)> {
    code_of(&hex(bytes))
}

fn code_of(hash: &Value) -> Vec<(&'static str, Value)> {
    vec![
        ("hash", some(hash.clone())),
        ("signer", some(hash.clone())),
        ("hash_blacklist", with(list(hash.clone()), "default", json!([]))),
        ("any_code", flag(false)),
    ]
}

fn intel() -> Vec<(&'static str, Value)> {
    let statuses = words(&[
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "TDRelaunchAdvised",
        "TDRelaunchAdvisedConfigurationNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
    ]);
    let advisory = with(text("^[!-~]+$"), "maxLength", json!(1024));
    vec![
        ("accepted_tcb_statuses", with(some(statuses), "default", json!(["UpToDate"]))),
        ("tcb_grace_days", with(number(3650), "default", json!(0))),
        ("min_tcb_evaluation_data_number", number(u32::MAX.into())),
        ("allowed_advisories", list(advisory)),
        ("require_qe_identity", flag(true)),
        ("allow_smt", flag(true)),
        ("allow_cached_keys", flag(true)),
        ("allow_dynamic_platform", flag(true)),
    ]
}

fn sgx() -> Vec<(&'static str, Value)> {
    let features = words(&["CET", "Debug", "EInitKey", "KSS", "ProvisioningKey", "AEXNotify"]);
    let own = vec![
        ("features", list(features)),
        ("enclave_security_version", number(65_535)),
        ("enclave_product_id", number(65_535)),
        ("misc_select", list(words(&["EXINFO", "CPINFO"]))),
        ("config_id", hex(64)),
        ("config_svn", number(65_535)),
        ("family_id", hex(16)),
        ("ext_prod_id", hex(16)),
    ];
    [code(32), intel(), own].concat()
}

fn snp() -> Vec<(&'static str, Value)> {
    let policy_flags = words(&[
        "SMT",
        "MigrateMA",
        "Debug",
        "CXL",
        "SingleSocket",
        "AES256XTS",
        "RAPLDisabled",
        "CiphertextHiding",
        "PageSwapDisabled",
    ]);
    let platform_flags = words(&[
        "SMT",
        "TSME",
        "ECC",
        "RAPLDisabled",
        "CiphertextHiding",
        "AliasCheckComplete",
        "SevTio",
    ]);
    let own = vec![
        ("id_key_digest", some(hex(48))),
        ("id_key_digest_blacklist", with(list(hex(48)), "default", json!([]))),
        ("abi", json!({ "type": "string", "minLength": 1, "maxLength": 1024 })),
        ("policy_flags", list(policy_flags)),
        (
            "platform_info_flags",
            json!({ "anyOf": [words(&["SME", "TSME"]), list(platform_flags)] }),
        ),
        ("vmpl", with(some(number(3)), "default", json!([0]))),
        ("min_guest_svn", with(number(u32::MAX.into()), "default", json!(0))),
        ("host_data", some(hex(32))),
        ("family_id", some(hex(16))),
        ("image_id", some(hex(16))),
        ("products", some(words(&["Milan", "Genoa", "Turin"]))),
        ("allow_vlek", flag(true)),
        ("chip_ids", some(text("^([0-9A-Fa-f]{16}|[0-9A-Fa-f]{128})$"))),
        ("csp_ids", some(json!({ "type": "string", "minLength": 1, "maxLength": 1024 }))),
    ];
    let mut all = [code(48), own].concat();
    all.push(("minimum_tcb", object(PRODUCTS.iter().map(|name| (*name, minimum(name))).collect())));
    all
}

fn minimum(product: &str) -> Value {
    let mut keys = vec!["bootloader", "tee", "snp", "microcode"];
    keys.extend((product == "turin").then_some("fmc"));
    described(
        "snp",
        keys.into_iter().map(|key| (key, with(number(255), "default", json!(0)))).collect(),
    )
}

fn tdx() -> Vec<(&'static str, Value)> {
    let lists = [
        "mr_seam",
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
        "mr_service_td",
    ];
    let own = vec![
        ("require_sept_ve_disable", flag(true)),
        ("allow_pks", flag(false)),
        ("allow_key_locker", flag(false)),
        ("xfam", json!({ "type": "integer", "minimum": 0 })),
        ("min_tee_tcb_svn", hex(16)),
    ];
    let mut all = [code(48), intel(), own].concat();
    all.retain(|(key, _)| *key != "signer");
    all.extend(lists.map(|key| (key, some(hex(48)))));
    all
}

fn development() -> Vec<(&'static str, Value)> {
    let pem = text("-----BEGIN CERTIFICATE-----");
    let list = json!({ "type": "array", "minItems": 1, "maxItems": 8, "items": pem });
    let mut all = code_of(&text("^([0-9A-Fa-f]{64}|[0-9A-Fa-f]{96})$"));
    all.push(("root", json!({ "anyOf": [pem, list] })));
    all.push(("sgx", says_which_code(described("sgx", sgx()), &["hash", "signer"])));
    all.push(("snp", says_which_code(described("snp", snp()), &["hash", "signer"])));
    all
}

/// Labels of letters, digits and `-`; the last one is no number.
fn dns_names() -> Value {
    let label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
    let name = text(&format!("^({label}\\.)*{label}$"));
    let name = with(name, "maxLength", json!(253));
    with(list(with(name, "not", json!({ "pattern": "(^|\\.)[0-9]+$" }))), "default", json!([]))
}

fn certificate() -> Vec<(&'static str, Value)> {
    let span = |default: &str| with(text("^[0-9]+[dhms]$"), "default", json!(default));
    vec![
        ("lifetime", span("28d")),
        ("backdate", span("0s")),
        ("dns_names", dns_names()),
        ("require_nonce", flag(false)),
        ("require_workload", flag(false)),
    ]
}

fn workload() -> Vec<(&'static str, Value)> {
    let digest = "^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$";
    let slug =
        "^([A-Za-z0-9.-]+(:[1-9][0-9]{0,4})?/)?[A-Za-z0-9]+/[A-Za-z0-9-]+(:[A-Za-z0-9.+-]+)?$";
    vec![
        ("digest", text(digest)),
        ("slug", with(text(slug), "maxLength", json!(512))),
        ("dns_names", dns_names()),
    ]
}

// Tables.

fn object(properties: Vec<(&str, Value)>) -> Value {
    let properties: Map<_, _> =
        properties.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// A table with the rules of the page as descriptions.
fn described(section: &str, properties: Vec<(&str, Value)>) -> Value {
    let rules = rules(section);
    let described = properties.into_iter().map(|(key, schema)| {
        let rule = if key == "minimum_tcb" {
            "The least reported, committed and launch TCB, by product."
        } else {
            rules.get(key).unwrap_or_else(|| panic!("the page has no `{key}` of [{section}]"))
        };
        (key, with(schema, "description", json!(rule)))
    });
    object(described.collect())
}

/// The rules of a section by key, as the page has them, without emphasis.
fn rules(section: &str) -> BTreeMap<&'static str, String> {
    let mut rules = BTreeMap::new();
    let mut concerned = false;
    for line in PAGE.lines() {
        if line.starts_with('#') {
            concerned = line.contains(&format!("[{section}]"));
        }
        let Some(row) = line.strip_prefix("| `").filter(|_| concerned) else { continue };
        let key = row.split('`').next().unwrap();
        let rule = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let before = rules.insert(key, rule.replace("**", ""));
        assert!(before.is_none(), "`{key}` of [{section}] is there twice");
    }
    rules
}

/// Rules for code: which of the keys there have to be, unless `any_code` says that it does not matter.
fn says_which_code(schema: Value, limits: &[&str]) -> Value {
    let mut limited: Vec<Value> = limits.iter().map(|key| json!({ "required": [key] })).collect();
    let any = json!({
        "required": ["any_code"],
        "properties": { "any_code": { "const": true } },
        "not": { "anyOf": limited },
    });
    limited.push(json!({
        "required": ["hash_blacklist"],
        "properties": { "hash_blacklist": { "minItems": 1 } },
    }));
    let some = json!({ "properties": { "any_code": { "const": false } }, "anyOf": limited });
    with(schema, "anyOf", json!([any, some]))
}

fn schema() -> Value {
    let about = |schema, text: &str| with(schema, "description", json!(text));
    let development = described("development", development());
    let development = with(development, "required", json!(["root"]));
    let unlimited = json!({ "properties": { "any_code": { "const": false } } });
    let code =
        json!({ "not": { "anyOf": [{ "required": ["hash"] }, { "required": ["signer"] }] } });
    let development = with(development, "anyOf", json!([unlimited, code]));
    let workload = with(described("workload", workload()), "required", json!(["digest"]));
    let all = object(vec![
        (
            "sgx",
            about(
                says_which_code(described("sgx", sgx()), &["hash", "signer"]),
                "Which Keeps in Intel SGX get a certificate. Without this section: none.",
            ),
        ),
        (
            "snp",
            about(
                says_which_code(described("snp", snp()), &["hash", "signer"]),
                "Which Keeps in AMD SEV-SNP get a certificate. Without this section: none.",
            ),
        ),
        (
            "tdx",
            about(
                says_which_code(described("tdx", tdx()), &["hash"]),
                "Which Keeps in Intel TDX get a certificate. Without this section: none.",
            ),
        ),
        (
            "development",
            about(development, "Takes evidence that proves nothing. For trials on any machine."),
        ),
        (
            "certificate",
            about(described("certificate", certificate()), "What certificates look like."),
        ),
        (
            "workload",
            about(
                list(workload),
                "With at least one of these, only the workloads that are listed get certificates, \
                 whatever the platform.",
            ),
        ),
    ]);
    let all = with(all, "$schema", json!("https://json-schema.org/draft/2020-12/schema"));
    let all = with(all, "title", json!("Policy of a Steward"));
    about(all, "Which Keeps get a certificate. An empty policy refuses every Keep.")
}

#[test]
fn the_published_schema_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/steward-policy.schema.json");
    let expected = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &expected).unwrap();
    } else {
        assert!(
            SCHEMA == expected,
            "{path} is stale: run this test with UPDATE=1 in the environment"
        );
    }
}

/// The least that has to be said in a section, besides the key that is looked at.
fn least(section: &str, key: &str) -> String {
    match (section, key) {
        ("sgx" | "snp" | "tdx", "hash" | "signer" | "any_code") => String::new(),
        ("sgx" | "snp" | "tdx", _) => "any_code = true\n".to_owned(),
        ("development", key) if key != "root" => format!("root = '''{ROOT}'''\n"),
        ("workload", key) if key != "digest" => {
            format!("digest = 'sha256:{}'\n", "0".repeat(64))
        }
        _ => String::new(),
    }
}

/// What the parser says that there is, when it is given what resembles none of it.
fn known(header: &str) -> Vec<String> {
    let policy = format!("{header}\n0000000000000000 = 0");
    let fault = Policy::parse(&policy).unwrap_err().message;
    fault.split_once("there are: ").unwrap().1.split(", ").map(str::to_owned).collect()
}

fn header(section: &str) -> String {
    if section == "workload" { "[[workload]]".to_owned() } else { format!("[{section}]") }
}

/// The table of a section in the published schema.
fn table<'s>(schema: &'s Value, section: &str) -> &'s Value {
    let table = &schema["properties"][section];
    if section == "workload" { &table["items"] } else { table }
}

#[test]
fn the_schema_has_the_keys_of_the_parser() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let compare = |table: &Value, header: &str| {
        let mut known = known(header);
        known.sort();
        let keys: Vec<&String> = table["properties"].as_object().unwrap().keys().collect();
        assert_eq!(keys, known.iter().collect::<Vec<_>>(), "{header}");
        assert_eq!(table["additionalProperties"], json!(false), "{header}");
    };
    compare(&schema, "");
    for section in SECTIONS {
        compare(table(&schema, section), &header(section));
    }
    let minima = &schema["properties"]["snp"]["properties"]["minimum_tcb"];
    compare(minima, "[snp]\nany_code = true\n[snp.minimum_tcb]");
    for product in PRODUCTS {
        let minimum = &minima["properties"][product];
        compare(minimum, &format!("[snp]\nany_code = true\n[snp.minimum_tcb.{product}]"));
    }
    let development = &schema["properties"]["development"]["properties"];
    for section in ["sgx", "snp"] {
        let least = least("development", section);
        compare(&development[section], &format!("[development]\n{least}[development.{section}]"));
    }
}

/// Values of all kinds, right and wrong for each key, in TOML.
fn values() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "x",
        "SME",
        "TSME",
        "SMT",
        "smt",
        "Debug",
        "KSS",
        "CET",
        "EXINFO",
        "CPINFO",
        "Milan",
        "milan",
        "Genoa",
        "Turin",
        "Revoked",
        "UpToDate",
        "Uptodate",
        "OutOfDate",
        "INTEL-SA-00615",
        "ä",
        "a b",
        "28d",
        "60s",
        "4w",
        "1.5h",
        "-1s",
        "28",
        "a.example",
        "A.example",
        "*.example",
        "1.2.3.4",
        "a..b",
        "-a.b",
        "a-b",
        "a.b.",
        "user/repo",
        "user/repo:tag",
        "host:80/user/repo",
        "h/u/r:t+1.0-x",
        "repo",
        "us-er/repo",
        "u/r:",
        ">=1.55",
        "sha256:",
        "md5:00",
    ]
    .map(str::to_owned)
    .to_vec();
    // The words of every list of words, as the parser lists them.
    for (section, key) in [
        ("sgx", "features"),
        ("sgx", "misc_select"),
        ("sgx", "accepted_tcb_statuses"),
        ("snp", "policy_flags"),
        ("snp", "platform_info_flags"),
        ("snp", "products"),
    ] {
        let policy = format!("[{section}]\nany_code = true\n{key} = ['0000000000000000']");
        let fault = Policy::parse(&policy).unwrap_err().message;
        let (_, words) = fault.split_once("there are: ").unwrap();
        texts.extend(words.split(", ").map(str::to_owned));
    }
    for bytes in [1, 8, 16, 31, 32, 33, 48, 64, 65] {
        texts.push("aB".repeat(bytes));
        texts.push(format!("{}g", "0".repeat(2 * bytes - 1)));
        texts.push("0".repeat(2 * bytes - 1));
    }
    for (name, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
        texts.push(format!("{name}:{}", "a".repeat(digits)));
        texts.push(format!("{name}:{}", "A".repeat(digits)));
        texts.push(format!("{name}:{}", "a".repeat(digits + 1)));
    }
    let label = "a".repeat(63);
    texts.extend([
        format!("{label}.b"),
        format!("{label}a.b"),
        format!("{label}.").repeat(4) + "b",
    ]);
    texts.extend(["x".repeat(1024), "x".repeat(1025), ROOT.to_owned()]);

    let numbers = [
        "0",
        "1",
        "3",
        "4",
        "255",
        "256",
        "3650",
        "3651",
        "65535",
        "65536",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "-1",
        "0x600e7",
        "1.5",
    ];
    let mut values: Vec<String> = ["true", "false", "{}", "{ a = 1 }", "[]", "[[]]", "[true]"]
        .into_iter()
        .chain(numbers)
        .map(str::to_owned)
        .collect();
    values.extend(numbers.map(|number| format!("[{number}]")));
    for text in &texts {
        values.push(format!("'''{text}'''"));
        values.push(format!("['''{text}''']"));
        values.push(format!("['''{text}''', 'x']"));
    }
    values.push(format!("[{}]", "'x',".repeat(1025)));
    values.push(format!("[{}]", format!("'''{ROOT}''',").repeat(9)));
    values
}

#[test]
fn schema_and_parser_agree() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut samples: Vec<(String, bool)> = Vec::new();
    for value in values() {
        for section in SECTIONS {
            samples.push((format!("{section} = {value}"), false));
            for key in table(&schema, section)["properties"].as_object().unwrap().keys() {
                let least = least(section, key);
                let text = format!("{}\n{least}{key} = {value}", header(section));
                samples.push((text, LENIENT.contains(&key.as_str())));
            }
        }
        for product in PRODUCTS {
            for key in ["bootloader", "tee", "snp", "microcode", "fmc"] {
                let text =
                    format!("[snp]\nany_code = true\n[snp.minimum_tcb.{product}]\n{key} = {value}");
                samples.push((text, false));
            }
        }
    }
    // What a section has to say about code, and may not.
    let hash = |section: &str| "ab".repeat(if section == "sgx" { 32 } else { 48 });
    for section in ["sgx", "snp", "tdx", "development"] {
        let least = if section == "development" { least(section, "") } else { String::new() };
        for any in ["", "any_code = true\n", "any_code = false\n"] {
            for key in ["", "hash", "signer", "hash_blacklist"] {
                for value in [format!("['{}']", hash(section)), "[]".to_owned()] {
                    let line =
                        if key.is_empty() { String::new() } else { format!("{key} = {value}") };
                    samples.push((format!("[{section}]\n{least}{any}{line}"), false));
                    if matches!(section, "sgx" | "snp") {
                        let root = self::least("development", section);
                        let outer = format!("[development]\n{root}[development.{section}]");
                        samples.push((format!("{outer}\n{any}{line}"), false));
                    }
                }
            }
        }
    }
    samples.extend(
        ["", "[nitro]", "[development]", "[[workload]]", "[certificate]", "[[sgx]]", "[workload]"]
            .map(|text| (text.to_owned(), false)),
    );
    samples.extend(
        PAGE.split("```toml\n")
            .skip(1)
            .map(|block| (block.split("```").next().unwrap().to_owned(), false)),
    );

    let (mut taken, mut refused, mut lenient) = (0, 0, 0);
    for (sample, may_be_lenient) in &samples {
        let json = serde_json::to_value(sample.parse::<toml::Table>().unwrap()).unwrap();
        let parsed = Policy::parse(sample).map(|_| ());
        let valid = allows(&schema, &json);
        if valid && parsed.is_err() && *may_be_lenient {
            lenient += 1;
            continue;
        }
        assert_eq!(valid, parsed.is_ok(), "schema says {valid}:\n{sample}\n{parsed:?}");
        *(if valid { &mut taken } else { &mut refused }) += 1;
    }
    assert!(taken > 300 && refused > 3000 && lenient < 200, "{taken} {refused} {lenient}");
}

/// Whether a schema allows a value. It knows the keywords that are used and panics at any other, so that
/// no rule goes untested.
fn allows(schema: &Value, value: &Value) -> bool {
    let keywords = schema.as_object().expect("a schema is an object");
    keywords.iter().all(|(keyword, rule)| {
        let most = || rule.as_u64().unwrap();
        let schemas = || rule.as_array().unwrap().iter();
        match (keyword.as_str(), value) {
            ("$schema" | "title" | "description" | "default", _) => true,
            ("type", _) => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("type {other}"),
            },
            ("const", _) => value == rule,
            ("enum", _) => schemas().any(|one| one == value),
            ("not", _) => !allows(rule, value),
            ("anyOf", _) => schemas().any(|one| allows(one, value)),
            ("pattern", Value::String(text)) => {
                Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)
            }
            ("minLength", Value::String(text)) => text.chars().count() as u64 >= most(),
            ("maxLength", Value::String(text)) => text.chars().count() as u64 <= most(),
            ("minimum", Value::Number(number)) => number.as_i64() >= rule.as_i64(),
            ("maximum", Value::Number(number)) => number.as_i64() <= rule.as_i64(),
            ("minItems", Value::Array(items)) => items.len() as u64 >= most(),
            ("maxItems", Value::Array(items)) => items.len() as u64 <= most(),
            ("items", Value::Array(items)) => items.iter().all(|item| allows(rule, item)),
            ("required", Value::Object(object)) => {
                schemas().all(|key| object.contains_key(key.as_str().unwrap()))
            }
            ("properties", Value::Object(object)) => object
                .iter()
                .all(|(key, value)| rule.get(key).is_none_or(|rule| allows(rule, value))),
            ("additionalProperties", Value::Object(object)) => {
                assert_eq!(rule, &json!(false));
                let known = keywords["properties"].as_object().unwrap();
                object.keys().all(|key| known.contains_key(key))
            }
            (
                "pattern"
                | "minLength"
                | "maxLength"
                | "minimum"
                | "maximum"
                | "minItems"
                | "maxItems"
                | "items"
                | "required"
                | "properties"
                | "additionalProperties",
                _,
            ) => true,
            (other, _) => panic!("keyword {other}"),
        }
    })
}
