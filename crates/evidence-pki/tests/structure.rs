// SPDX-License-Identifier: Apache-2.0

//! Structures that are good DER and yet not what they should be, each wrong in one place; and the bounds.

use evidence_crypto::AwsLc;
use evidence_pki::{
    Certificate, Crl, Cursor, ObjectIdentifier, PkiError, PublicKey, Request, SigningAlgorithm,
    Time, certificates, encode, oid, pem_blocks, tag, to_pem,
};

const NOW: Time = Time::from_unix(1_800_000_000);
/// `deltaCRLIndicator` (RFC 5280, 5.2.4).
const DELTA: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");

fn name(text: &str) -> Vec<u8> {
    encode::name(&[(oid::COMMON_NAME, text)])
}

/// A key of that kind; its point is on no curve.
fn spki(algorithm: SigningAlgorithm) -> Vec<u8> {
    let size = if algorithm == SigningAlgorithm::EcdsaP256Sha256 { 65 } else { 97 };
    algorithm.public_key(&vec![4; size]).unwrap()
}

/// What is signed with a signature that nobody looks at.
fn sealed(signed: &[&[u8]]) -> Vec<u8> {
    let algorithm = SigningAlgorithm::EcdsaP256Sha256.identifier();
    encode::sequence(&[&encode::sequence(signed), &algorithm, &encode::bits(b"signature")])
}

fn numbered(number: u32) -> ObjectIdentifier {
    format!("1.2.3.{number}").parse().unwrap()
}

/// A certificate of `subject` by itself, with those extensions.
fn certificate(subject: &str, extensions: &[Vec<u8>]) -> Vec<u8> {
    let algorithm = SigningAlgorithm::EcdsaP256Sha256.identifier();
    let version = encode::element(tag::context_constructed(0), &[&encode::integer(&[2])]);
    let validity = encode::sequence(&[&NOW.to_der(), &NOW.to_der()]);
    let extensions =
        encode::element(tag::context_constructed(3), &[&encode::sequence_of(extensions)]);
    let (subject, spki) = (name(subject), spki(SigningAlgorithm::EcdsaP256Sha256));
    let serial = encode::integer(&[1]);
    sealed(&[&version, &serial, &algorithm, &subject, &validity, &subject, &spki, &extensions])
}

/// A revocation list of `issuer`, of that version, with those extensions.
fn crl(issuer: &str, version: u8, algorithm: SigningAlgorithm, extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions =
        encode::element(tag::context_constructed(0), &[&encode::sequence_of(extensions)]);
    let (version, time) = (encode::integer(&[version]), NOW.to_der());
    sealed(&[&version, &algorithm.identifier(), &name(issuer), &time, &time, &extensions])
}

/// A request with those attributes.
fn request(attributes: &[Vec<u8>]) -> Vec<u8> {
    let parts: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
    let attributes = encode::element(tag::context_constructed(0), &parts);
    let (name, spki) = (name("requester"), spki(SigningAlgorithm::EcdsaP256Sha256));
    sealed(&[&encode::integer(&[0]), &name, &spki, &attributes])
}

fn attribute(kind: ObjectIdentifier, values: &[&[u8]]) -> Vec<u8> {
    encode::sequence(&[&encode::oid(kind), &encode::element(tag::SET, values)])
}

#[test]
fn certificates_have_bounds() {
    let many = |count| (0..count).map(|i| encode::extension(numbered(i), false, &[5, 0])).collect();
    let (most, more): (Vec<_>, Vec<_>) = (many(64), many(65));
    let der = certificate("a", &most);
    assert_eq!(Certificate::parse(&der).unwrap().extensions().count(), 64);
    let malformed = PkiError::Malformed("certificate extensions");
    assert_eq!(Certificate::parse(&certificate("a", &more)).unwrap_err(), malformed);
    let twice = [most[0].clone(), most[0].clone()];
    assert_eq!(Certificate::parse(&certificate("a", &twice)).unwrap_err(), malformed);
    let large = vec![0; Certificate::MAX_SIZE + 1];
    assert_eq!(Certificate::parse(&large).unwrap_err(), PkiError::TooLarge("certificate"));
}

#[test]
fn a_key_usage_has_at_most_two_octets() {
    let with = |value: &[u8]| certificate("a", &[encode::extension(oid::KEY_USAGE, true, value)]);
    let usage = |der: &[u8]| Certificate::parse(der).unwrap().key_usage();
    let good = usage(&with(&[tag::BIT_STRING, 2, 1, 0x06])).unwrap().unwrap();
    assert!(good.may_sign_certificates() && good.may_sign_crls() && !good.may_sign());
    for bad in [
        &[tag::BIT_STRING, 2, 8, 0x06][..],
        &[tag::BIT_STRING, 4, 0, 0x06, 0, 0],
        &[tag::BIT_STRING, 0],
    ] {
        assert_eq!(usage(&with(bad)), Err(PkiError::Malformed("keyUsage")), "{bad:02x?}");
    }
}

#[test]
fn an_issuer_has_to_be_an_authority() {
    let authority = |usage: u8| {
        let constraints = encode::sequence(&[&encode::boolean(true)]);
        certificate(
            "a",
            &[
                encode::extension(oid::BASIC_CONSTRAINTS, true, &constraints),
                encode::extension(oid::KEY_USAGE, true, &[tag::BIT_STRING, 2, 0, usage]),
            ],
        )
    };
    let below = certificate("a", &[]);
    let below = Certificate::parse(&below).unwrap();
    // That it comes to the signature shows that the rest is good.
    for (usage, wanted) in [(0x04, PkiError::BadSignature), (0x02, PkiError::NotAnAuthority)] {
        let issuer = authority(usage);
        let issuer = Certificate::parse(&issuer).unwrap();
        assert_eq!(below.check_issued_by(&AwsLc, &issuer), Err(wanted));
    }
    assert_eq!(below.check_issued_by(&AwsLc, &below), Err(PkiError::NotAnAuthority));
}

#[test]
fn revocation_lists_are_complete_and_of_version_2() {
    let p256 = SigningAlgorithm::EcdsaP256Sha256;
    let number = encode::extension(oid::CRL_NUMBER, false, &encode::integer(&[7]));
    let der = crl("a", 1, p256, std::slice::from_ref(&number));
    let list = Crl::parse(&der).unwrap();
    assert_eq!((list.number, list.issuer_common_name()), (Some(7), Some("a")));
    assert_eq!(list.serials().count(), 0);

    let delta = |critical| encode::extension(DELTA, critical, &encode::integer(&[6]));
    let der = crl("a", 1, p256, &[number.clone(), delta(true)]);
    assert_eq!(Crl::parse(&der).unwrap_err(), PkiError::UnknownCritical(DELTA));
    // What is not critical may be there.
    assert!(Crl::parse(&crl("a", 1, p256, &[number, delta(false)])).is_ok());

    let malformed = PkiError::Malformed("revocation list");
    assert_eq!(Crl::parse(&crl("a", 0, p256, &[])).unwrap_err(), malformed);
    // Its algorithm stands twice, and once it is another.
    let der = crl("a", 1, SigningAlgorithm::EcdsaP384Sha384, &[]);
    assert_eq!(Crl::parse(&der).unwrap_err(), malformed);
    let large = vec![0; Crl::MAX_SIZE + 1];
    assert_eq!(Crl::parse(&large).unwrap_err(), PkiError::TooLarge("revocation list"));
}

#[test]
fn an_entry_that_says_more_than_is_known_is_refused() {
    /// `certificateIssuer` (RFC 5280, 5.3.3): the entry is about a certificate of somebody else.
    const CERTIFICATE_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.29");
    let list = |critical| {
        let extension = encode::extension(CERTIFICATE_ISSUER, critical, &[0x30, 0]);
        let (time, serial) = (NOW.to_der(), encode::integer(&[5]));
        let entry = encode::sequence(&[&serial, &time, &encode::sequence(&[&extension])]);
        let algorithm = SigningAlgorithm::EcdsaP256Sha256.identifier();
        let (version, entries) = (encode::integer(&[1]), encode::sequence(&[&entry]));
        sealed(&[&version, &algorithm, &name("a"), &time, &time, &entries])
    };
    assert!(Crl::parse(&list(false)).unwrap().revokes(&[5]));
    let refused = Crl::parse(&list(true)).unwrap_err();
    assert_eq!(refused, PkiError::UnknownCritical(CERTIFICATE_ISSUER));
}

#[test]
fn numbers_have_at_most_64_bits() {
    let number = |octets: &[u8]| Cursor::new(&encode::integer(octets), "test").unsigned();
    assert_eq!(number(&[0xff; 8]), Ok(u64::MAX));
    assert_eq!(number(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), Err(PkiError::Malformed("test")));
}

#[test]
fn who_issues_a_revocation_list_has_to_have_the_right() {
    let der = crl("a", 1, SigningAlgorithm::EcdsaP256Sha256, &[]);
    let list = Crl::parse(&der).unwrap();
    for (subject, usage, wanted) in [
        ("a", Some(0x02), PkiError::BadSignature),
        ("a", None, PkiError::BadSignature),
        ("a", Some(0x04), PkiError::NotAnAuthority),
        ("b", Some(0x02), PkiError::WrongIssuer),
    ] {
        let usage = usage
            .map(|usage| encode::extension(oid::KEY_USAGE, true, &[tag::BIT_STRING, 2, 0, usage]));
        let issuer = certificate(subject, &Vec::from_iter(usage));
        let issuer = Certificate::parse(&issuer).unwrap();
        assert_eq!(list.check_issued_by(&AwsLc, &issuer), Err(wanted), "{subject}");
    }
}

#[test]
fn requests_have_bounds() {
    let value: &[u8] = &[5, 0];
    let der = request(&[attribute(numbered(1), &[value; 16])]);
    assert_eq!(Request::parse(&der).unwrap().attribute(numbered(1)).unwrap().values.len(), 16);
    let der = request(&[attribute(numbered(1), &[value; 17])]);
    let too_large = PkiError::TooLarge("attribute of a certificate request");
    assert_eq!(Request::parse(&der).unwrap_err(), too_large);

    let many =
        |count| request(&Vec::from_iter((0..count).map(|i| attribute(numbered(i), &[value]))));
    assert_eq!(Request::parse(&many(16)).unwrap().attributes.len(), 16);
    let one = attribute(numbered(1), &[value]);
    for bad in [many(17), request(&[one.clone(), one]), request(&[attribute(numbered(1), &[])])] {
        let malformed = PkiError::Malformed("attributes of a certificate request");
        assert_eq!(Request::parse(&bad).unwrap_err(), malformed);
    }
    let large = vec![0; Request::MAX_SIZE + 1];
    assert_eq!(Request::parse(&large).unwrap_err(), PkiError::TooLarge("certificate request"));
}

#[test]
fn extensions_of_a_request_are_few_and_stand_in_one_value() {
    let list = |count: u32| {
        encode::sequence_of(&Vec::from_iter(
            (0..count).map(|i| encode::extension(numbered(i), false, &[5, 0])),
        ))
    };
    let extensions = |values: &[&[u8]]| {
        let der = request(&[attribute(oid::EXTENSION_REQUEST, values)]);
        Request::parse(&der).unwrap().extensions().map(|found| found.len())
    };
    assert_eq!(extensions(&[&list(32)]), Ok(32));
    let one = encode::extension(numbered(1), false, &[5, 0]);
    let malformed = PkiError::Malformed("extensionRequest");
    assert_eq!(extensions(&[&list(33)]), Err(malformed));
    assert_eq!(extensions(&[&list(1), &list(1)]), Err(malformed));
    assert_eq!(extensions(&[&encode::sequence(&[&one, &one])]), Err(malformed));
}

#[test]
fn lists_of_certificates_are_short() {
    let one = certificate("a", &[]);
    for (count, good) in [(1, true), (8, true), (9, false)] {
        let der = encode::sequence_of(&vec![one.clone(); count]);
        let pem = to_pem("CERTIFICATE", &one).repeat(count);
        if good {
            assert_eq!(certificates(&der).unwrap(), vec![one.as_slice(); count]);
            assert_eq!(
                pem_blocks(pem.as_bytes(), "CERTIFICATE").unwrap(),
                vec![one.clone(); count]
            );
        } else {
            let too_large = PkiError::TooLarge("list of certificates");
            assert_eq!(certificates(&der).unwrap_err(), too_large);
            let refused = pem_blocks(pem.as_bytes(), "CERTIFICATE");
            assert_eq!(refused.unwrap_err(), PkiError::TooLarge("PEM"));
        }
    }
}

#[test]
fn keys_know_their_size() {
    for (algorithm, bits) in
        [(SigningAlgorithm::EcdsaP256Sha256, 256), (SigningAlgorithm::EcdsaP384Sha384, 384)]
    {
        let spki = spki(algorithm);
        assert_eq!(PublicKey::from_spki(&spki).unwrap().bits(), bits);
    }
    // Curves that play no part here, and points of another length: carried, and of no use.
    let key = |curve, size| {
        let algorithm = encode::sequence(&[&encode::oid(oid::EC_PUBLIC_KEY), &encode::oid(curve)]);
        encode::sequence(&[&algorithm, &encode::bits(&vec![4; size])])
    };
    for other in [key(numbered(1), 65), key(oid::P256, 33), key(oid::P384, 49)] {
        let key = PublicKey::from_spki(&other).unwrap();
        assert_eq!((key, key.bits()), (PublicKey::Other, 0));
    }
    assert_eq!(PublicKey::Rsa(b"no key").bits(), 0);
}
