// SPDX-License-Identifier: Apache-2.0

//! The formats, against OpenSSL and against arithmetic by hand.

use std::fs;
use std::path::Path;
use std::process::Command;

use launch_keys::{
    Enclave, ID_KEY_SIGNATURE, IdBlock, KeyError, SIGSTRUCT, SevKey, SevSignature, SgxKey,
    Signatures, check_id_key_signature, id_auth, sign_id_key,
};

fn openssl(folder: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new("openssl").args(arguments).current_dir(folder).output() {
        Ok(out) if out.status.success() => Some(out.stdout),
        Ok(out) => panic!("{arguments:?}: {}", String::from_utf8_lossy(&out.stderr)),
        Err(_) => {
            eprintln!("skipped: openssl is not installed");
            None
        }
    }
}

fn block() -> IdBlock {
    IdBlock { measurement: [7; 48], family: [1; 16], image: [2; 16], svn: 3, policy: 0x30000 }
}

#[test]
fn an_sgx_key_is_one_for_openssl_and_its_sigstruct_verifies_there() {
    let key = SgxKey::generate().unwrap();
    let enclave = Enclave {
        measurement: [9; 32],
        date: 0x2026_1122,
        misc: (1, 0xffff_ffff),
        attributes: ([4; 16], [0xff; 16]),
        product: 5,
        version: 6,
        family: [0xfa; 16],
        ext_product: [0xee; 16],
        ..Enclave::default()
    };
    let signed = key.sign(&enclave).unwrap();
    assert_eq!(signed.len(), SIGSTRUCT);
    // ENCLAVEHASH, ISVPRODID, ISVSVN, EXPONENT where the processor looks for them.
    assert_eq!(signed[960..992], [9; 32]);
    assert_eq!(signed[1024..1028], [5, 0, 6, 0]);
    assert_eq!(signed[512..516], [3, 0, 0, 0]);

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key.pem"), key.to_pem().unwrap().as_bytes()).unwrap();
    let Some(text) = openssl(dir.path(), &["rsa", "-in", "key.pem", "-noout", "-text"]) else {
        return;
    };
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("3072 bit") && text.contains("publicExponent: 3 (0x3)"), "{text}");
    // The digest as the published manual reckons it.
    let modulus = openssl(dir.path(), &["rsa", "-in", "key.pem", "-noout", "-modulus"]).unwrap();
    let modulus = String::from_utf8(modulus).unwrap();
    let modulus = modulus.trim().strip_prefix("Modulus=").unwrap();
    let little: Vec<u8> = (0..modulus.len() / 2)
        .rev()
        .map(|at| u8::from_str_radix(&modulus[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert_eq!(little[..], signed[128..512]);
    fs::write(dir.path().join("modulus"), &little).unwrap();
    let hash = openssl(dir.path(), &["dgst", "-sha256", "-binary", "modulus"]).unwrap();
    assert_eq!(hash, key.mrsigner());
    // The signature, over header and body without what lies between them.
    let reversed: Vec<u8> = signed[516..900].iter().rev().copied().collect();
    fs::write(dir.path().join("signature"), reversed).unwrap();
    let message = [&signed[..128], &signed[900..1028]].concat();
    fs::write(dir.path().join("message"), message).unwrap();
    openssl(dir.path(), &["rsa", "-in", "key.pem", "-pubout", "-out", "public.pem"]).unwrap();
    openssl(
        dir.path(),
        &["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "message"],
    )
    .unwrap();
    // s² = q1·m + r and s·r = q2·m + s³ mod m, reckoned by Python.
    fs::write(dir.path().join("sigstruct"), &signed).unwrap();
    let script = "d = open('sigstruct', 'rb').read()\n\
        n = lambda a, b: int.from_bytes(d[a:b], 'little')\n\
        m, s, q1, q2 = n(128, 512), n(516, 900), n(1040, 1424), n(1424, 1808)\n\
        r = s * s - q1 * m\n\
        assert 0 <= r < m and s * r // m == q2 and s * r - q2 * m == pow(s, 3, m)\n";
    match Command::new("python3").args(["-c", script]).current_dir(dir.path()).output() {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr)),
        Err(_) => eprintln!("skipped: python3 is not installed"),
    }
    assert_eq!(SgxKey::from_pem(&key.to_pem().unwrap()).unwrap().mrsigner(), key.mrsigner());
}

#[test]
fn other_rsa_keys_are_no_sgx_keys() {
    let dir = tempfile::tempdir().unwrap();
    for (bits, exponent) in [("2048", "3"), ("3072", "65537")] {
        let arguments = [
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            &format!("rsa_keygen_bits:{bits}"),
            "-pkeyopt",
            &format!("rsa_keygen_pubexp:{exponent}"),
            "-out",
            "pkcs8.pem",
        ];
        if openssl(dir.path(), &arguments).is_none() {
            return;
        }
        let pem = openssl(dir.path(), &["rsa", "-in", "pkcs8.pem", "-traditional"]).unwrap();
        let found = SgxKey::from_pem(std::str::from_utf8(&pem).unwrap());
        assert!(matches!(found, Err(KeyError::Malformed(_))), "{bits} {exponent}: {found:?}");
    }
    assert!(SgxKey::from_pem(&SevKey::generate().unwrap().to_pem().unwrap()).is_err());
}

#[test]
fn a_sev_key_has_the_published_structure() {
    let key = SevKey::generate().unwrap();
    let public = key.public();
    assert_eq!((public.len(), &public[..4]), (1028, &[2, 0, 0, 0][..]));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key.pem"), key.to_pem().unwrap().as_bytes()).unwrap();
    fs::write(dir.path().join("public"), &public).unwrap();
    let der = ["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"];
    let Some(spki) = openssl(dir.path(), &der) else { return };
    let (x, y) = spki[spki.len() - 96..].split_at(48);
    let reversed = |number: &[u8]| number.iter().rev().copied().collect::<Vec<u8>>();
    assert_eq!(public[4..52], reversed(x));
    assert_eq!(public[52..76], [0; 24]);
    assert_eq!(public[76..124], reversed(y));
    assert!(public[124..].iter().all(|byte| *byte == 0));
    let hash = openssl(dir.path(), &["dgst", "-sha384", "-binary", "public"]).unwrap();
    assert_eq!(hash, key.digest());
    // A key of OpenSSL's is taken as well, one of another curve is not.
    let make = |curve| ["genpkey", "-algorithm", "EC", "-pkeyopt", curve];
    let theirs = openssl(dir.path(), &make("ec_paramgen_curve:P-384")).unwrap();
    SevKey::from_pem(std::str::from_utf8(&theirs).unwrap()).unwrap();
    let other = openssl(dir.path(), &make("ec_paramgen_curve:P-256")).unwrap();
    assert!(SevKey::from_pem(std::str::from_utf8(&other).unwrap()).is_err());
}

#[test]
fn an_author_stands_for_one_id_key() {
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let blob = sign_id_key(&author, &id).unwrap();
    assert_eq!(blob.len(), ID_KEY_SIGNATURE);
    assert_eq!(blob[512..], author.public());
    assert_eq!(check_id_key_signature(&blob, &id), Ok(author.digest()));
    let other = SevKey::generate().unwrap();
    assert_eq!(check_id_key_signature(&blob, &other), Err(KeyError::BadSignature));
    // Each number, what follows it in its field, the curve, and what lies behind.
    for at in [0, 47, 48, 71, 72, 119, 120, 144, 511, 512, 516, 563, 564, 588, 660, 1539] {
        let mut bad = blob.clone();
        bad[at] ^= 1;
        let found = check_id_key_signature(&bad, &id);
        assert!(
            matches!(found, Err(KeyError::BadSignature | KeyError::Malformed(_))),
            "{at}: {found:?}"
        );
    }
    assert!(matches!(check_id_key_signature(&blob[1..], &id), Err(KeyError::Malformed(_))));
    assert!(matches!(check_id_key_signature(&[], &id), Err(KeyError::Malformed(_))));
}

#[test]
fn an_id_block_and_its_authentication_have_the_published_layout() {
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let bytes = block().to_bytes();
    assert_eq!(bytes.len(), 96);
    assert_eq!(bytes[80..96], [1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0]);
    let blob = sign_id_key(&author, &id).unwrap();
    let auth = id_auth(&block(), &id, &blob).unwrap();
    assert_eq!(auth.len(), 4096);
    assert_eq!(auth[..8], [1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(auth[0x240..0x644], id.public());
    assert_eq!(auth[0x680..0x880], blob[..512]);
    assert_eq!(auth[0x880..0xc84], author.public());
    assert!(auth[0xc84..].iter().all(|byte| *byte == 0));
    let other = SevKey::generate().unwrap();
    assert_eq!(id_auth(&block(), &other, &blob), Err(KeyError::BadSignature));
    let file = Signatures {
        version: "0.1.0".into(),
        sev: SevSignature { id_block: bytes, id_auth: auth },
        sgx: vec![0; SIGSTRUCT],
    };
    assert_eq!(Signatures::from_json(&file.to_json()), Some(file.clone()));
    let short = Signatures { sgx: vec![0; 3], ..file };
    assert_eq!(Signatures::from_json(&short.to_json()), None);
    assert_eq!(Signatures::from_json(b"{}"), None);
}
