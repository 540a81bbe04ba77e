// SPDX-License-Identifier: Apache-2.0

//! Enclaves measured and signed here, in Fortanix's tools (`sgxs`, `sgx-isa`) and in the original Enarx's
//! library (`sgx`): each takes the other's work.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use launch_keys::{Enclave, SgxKey, Sigstruct, sigstruct_date};
use openssl::hash::Hasher;
use openssl::pkey::{Private, Public};
use openssl::rsa::Rsa;
use sgx::crypto::PrivateKey as _;
use sgx::crypto::openssl::{RS256PrivateKey, S256Digest};
use sgx_guest::attributes::{Attributes, KEEP_MISC};
use sgx_guest::page::{PageType, Rights, SecInfo, Tcs};
use sgx_launch::sign::{SignError, Terms, check, describe};
use sgx_launch::{Content, Page, Plan, Region, Secs, Sink};
use sgxs::crypto::SgxHashOps;
use sgxs::sgxs::{MeasECreate, PageChunks, PageReader, SecinfoTruncated, SgxsWrite as _};
use sgxs::sigstruct::{AttributesFlags, EnclaveHash, Miscselect, Signer};

static KEY: LazyLock<SgxKey> = LazyLock::new(|| SgxKey::generate().unwrap());

fn openssl_key() -> Rsa<Private> {
    Rsa::private_key_from_pem(KEY.to_pem().unwrap().as_bytes()).unwrap()
}

fn openssl_public() -> Rsa<Public> {
    let key = openssl_key();
    let number = |number: &openssl::bn::BigNumRef| number.to_owned().unwrap();
    Rsa::from_public_components(number(key.n()), number(key.e())).unwrap()
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Pages of an enclave that nobody designed.
struct Random {
    secs: Secs,
    regions: Vec<(u64, SecInfo, Vec<u8>, bool)>,
}

impl Random {
    /// `all_measured` as a Keep has it.
    fn new(seed: u64, ascending: bool, all_measured: bool) -> Self {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let size = 0x4000 << numbers.below(12);
        let mut secs = Secs::keep(0, size, [seed as u8; 64]).unwrap();
        secs.frame.pages += numbers.below(3) as u32;
        let mut regions = Vec::new();
        let mut offset = 0;
        while offset < size && regions.len() < 12 {
            let pages = (1 + numbers.below(4)).min((size - offset) / 4096);
            let kinds = [
                SecInfo::reg(Rights::R),
                SecInfo::reg(Rights::RW),
                SecInfo::reg(Rights::RX),
                SecInfo::tcs(),
            ];
            let info = kinds[numbers.below(4) as usize];
            let bytes = match info.page_type {
                PageType::Tcs if size >= 0x10000 => {
                    let entry = numbers.below(size);
                    let (ssa_count, ssa) = (2, 0x1000);
                    Tcs { flags: 0, ssa, ssa_count, entry, fs: 0, gs: 0 }.to_bytes().to_vec()
                }
                _ => (0..pages * 4096).map(|_| numbers.below(256) as u8).collect(),
            };
            let info =
                if info.page_type == PageType::Tcs && size < 0x10000 { kinds[0] } else { info };
            let measured = all_measured || info.page_type == PageType::Tcs || numbers.below(3) != 0;
            regions.push((offset, info, bytes, measured));
            offset += (regions.last().unwrap().2.len() as u64) + numbers.below(3) * 4096;
        }
        if !ascending {
            for at in (1..regions.len()).rev() {
                regions.swap(at, numbers.below(at as u64 + 1) as usize);
            }
        }
        Self { secs, regions }
    }

    fn plan(&self) -> Plan<'_> {
        let mut plan = Plan::new(self.secs);
        for (offset, info, bytes, measured) in &self.regions {
            let (offset, info, measured) = (*offset, *info, *measured);
            plan.push(Region { offset, info, content: Content::Bytes(bytes), measured }).unwrap();
        }
        plan
    }
}

/// Writes what a launch would load in Fortanix's format.
#[derive(Default)]
struct Stream(Vec<u8>);

impl Sink for Stream {
    type Error = Infallible;

    fn create(&mut self, secs: &Secs) -> Result<(), Infallible> {
        let header = MeasECreate { ssaframesize: secs.frame.pages, size: secs.size };
        self.0.write_meas(&sgxs::sgxs::Meas::ECreate(header)).unwrap();
        Ok(())
    }

    fn add(&mut self, page: &Page<'_>) -> Result<(), Infallible> {
        use sgxs::sgxs::PageChunk::{Included, IncludedMeasured};
        let flags = sgx_isa::SecinfoFlags::from_bits(page.info.flags()).unwrap();
        let chunks = [if page.measured { IncludedMeasured } else { Included }; 16];
        let mut bytes = &page.bytes[..];
        let data = (&mut bytes, chunks);
        self.0.write_page(data, page.offset, SecinfoTruncated { flags }).unwrap();
        Ok(())
    }
}

fn stream(plan: &Plan<'_>) -> Vec<u8> {
    let mut stream = Stream::default();
    plan.load(&mut stream).unwrap();
    stream.0
}

/// MRENCLAVE by Fortanix.
fn theirs(stream: &[u8]) -> [u8; 32] {
    EnclaveHash::from_stream::<_, Hasher>(&mut &*stream).unwrap().hash()
}

/// MRENCLAVE by the original Enarx.
fn originals(plan: &Plan<'_>) -> [u8; 32] {
    use sgx::page::{Class, Flags};
    let frame = NonZeroU32::new(plan.secs().frame.pages).unwrap();
    let mut hasher = sgx::signature::Hasher::<S256Digest>::new(plan.secs().size as usize, frame);
    for region in plan.regions() {
        let class = match region.info.page_type {
            PageType::Tcs => Class::Tcs,
            _ => Class::Regular,
        };
        let flags = Flags::from_bits(region.info.rights.bits() as u8).unwrap();
        let Content::Bytes(bytes) = region.content else { panic!("bytes") };
        let info = sgx::page::SecInfo::new(class, flags);
        hasher.load(bytes, region.offset as usize, info, region.measured).unwrap();
    }
    hasher.finish()
}

#[test]
fn an_enclave_has_one_measurement() {
    let mut seen = Vec::new();
    for seed in 0..60 {
        let random = Random::new(seed, seed % 3 == 0, seed % 2 == 0);
        let plan = random.plan();
        let ours = plan.measure();
        assert_eq!(theirs(&stream(&plan)), ours, "seed {seed}");
        assert_eq!(originals(&plan), ours, "seed {seed}");
        assert!(!seen.contains(&ours), "seed {seed}");
        seen.push(ours);
    }
}

/// Their file, read by their reader, as a plan here.
#[test]
fn a_stream_of_theirs_is_measured_here() {
    for seed in 100..120 {
        let random = Random::new(seed, true, seed % 2 == 0);
        let file = stream(&random.plan());
        let mut file_reader = &file[..];
        let (info, mut reader) = PageReader::new(&mut file_reader).unwrap();
        assert!(info.sized);
        let (size, frame) = (info.ecreate.size, info.ecreate.ssaframesize);
        let mut secs = Secs::keep(0, size, [0; 64]).unwrap();
        secs.frame.pages = frame;
        let mut pages = Vec::new();
        while let Some((header, PageChunks(chunks), bytes)) = reader.read_page().unwrap() {
            let mut raw = [0; 64];
            raw[..8].copy_from_slice(&header.secinfo.flags.bits().to_le_bytes());
            let info = SecInfo::from_bytes(&raw).unwrap();
            assert!(matches!(chunks, 0 | 0xffff), "{chunks:#x}");
            pages.push((header.offset, info, bytes, chunks != 0));
        }
        let mut plan = Plan::new(secs);
        for (offset, info, bytes, measured) in &pages {
            let (offset, info, measured) = (*offset, *info, *measured);
            plan.push(Region { offset, info, content: Content::Bytes(bytes), measured }).unwrap();
        }
        assert_eq!(plan.measure(), theirs(&file), "seed {seed}");
        assert_eq!(plan.measure(), random.plan().measure(), "seed {seed}");
    }
}

fn terms() -> Terms {
    let date = sigstruct_date(2026, 11, 22).unwrap();
    Terms { date, product: 0x1234, svn: 0x5678, family: [0; 16], ext_product: [9; 16] }
}

/// The signer of theirs that says what [`describe`] says.
fn signer(hash: [u8; 32]) -> Signer {
    let mut signer = Signer::new(EnclaveHash::new(hash));
    let flags = AttributesFlags::from_bits(Attributes::KEEP.flags).unwrap();
    signer
        .date(2026, 11, 22)
        .isvprodid(0x1234)
        .isvsvn(0x5678)
        .isvextprodid([9; 16])
        .miscselect(Miscselect::from_bits(KEEP_MISC).unwrap(), !0)
        .attributes_flags(flags, !0)
        .attributes_xfrm(Attributes::KEEP.xfrm, !0);
    signer
}

fn ours(enclave: &Enclave) -> Vec<u8> {
    KEY.sign(enclave).unwrap()
}

fn they_verify(bytes: &[u8]) -> bool {
    let signature = sgx_isa::Sigstruct::try_copy_from(bytes).unwrap();
    sgxs::sigstruct::verify::<_, Hasher>(&signature, &*openssl_public()).is_ok()
}

#[test]
fn signatures_are_the_same_and_each_takes_the_others() {
    for seed in 200..206 {
        let random = Random::new(seed, true, true);
        let plan = random.plan();
        let described = Enclave { cet: (0, 0), ..describe(&plan, &terms()).unwrap() };
        let by_us = ours(&described);
        // Theirs, from the measurement to the last quotient.
        let hash = theirs(&stream(&plan));
        let by_them = signer(hash).sign::<_, Hasher>(&*openssl_key()).unwrap();
        assert_eq!(by_us, by_them.as_ref(), "seed {seed}");
        assert!(they_verify(&by_us));
        let taken = Sigstruct::from_bytes(by_them.as_ref()).unwrap();
        let identity = check(&plan, &taken).unwrap();
        assert_eq!((identity.signer, identity.measurement), (KEY.mrsigner(), hash));
        assert_eq!((identity.product, identity.svn), (0x1234, 0x5678));
        // With everything that theirs cannot say.
        let family = Enclave { family: [7; 16], software: 5, cet: (0, !0), ..described };
        let by_us = ours(&family);
        assert!(they_verify(&by_us));
        let read = sgx_isa::Sigstruct::try_copy_from(&by_us).unwrap();
        assert_eq!((read.isvfamilyid, read.swdefined), ([7; 16], 5));
        assert_eq!((read.cet_attributes, read.cet_attributes_mask), (0, !0));
        assert_eq!(Sigstruct::from_bytes(&by_us).unwrap().enclave(), family);
    }
}

#[test]
fn both_refuse_what_was_changed() {
    let random = Random::new(300, true, true);
    let plan = random.plan();
    let good = ours(&describe(&plan, &terms()).unwrap());
    assert!(they_verify(&good));
    // Headers, what is signed, the signature.
    for at in [20, 40, 516, 899, 900, 912, 928, 944, 960, 1008, 1024, 1027] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(!they_verify(&bad), "{at}");
        assert!(check(&plan, &Sigstruct::from_bytes(&bad).unwrap()).is_err(), "{at}");
    }
    // The quotients they do not look at. A processor does.
    for at in [1040, 1807] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(they_verify(&bad));
        let refused = check(&plan, &Sigstruct::from_bytes(&bad).unwrap());
        assert_eq!(refused, Err(SignError::Signature), "{at}");
    }
    // Their default leaves the debug bit to the host. It is no signature for a Keep.
    let mut open = signer(plan.measure());
    let flags = AttributesFlags::from_bits(Attributes::KEEP.flags).unwrap();
    open.attributes_flags(flags, !AttributesFlags::DEBUG.bits());
    let open = open.sign::<_, Hasher>(&*openssl_key()).unwrap();
    let open = Sigstruct::from_bytes(open.as_ref()).unwrap();
    assert_eq!(check(&plan, &open), Err(SignError::Open));
}

#[test]
fn the_original_signs_the_same() {
    let random = Random::new(400, true, true);
    let signed = ours(&describe(&random.plan(), &terms()).unwrap());
    let key = RS256PrivateKey::from_pem(&KEY.to_pem().unwrap()).unwrap();
    let theirs = key.sign(&signed[..128], &signed[900..1028]).unwrap();
    assert_eq!(theirs.modulus, signed[128..512]);
    assert_eq!(theirs.exponent, 3);
    assert_eq!(theirs.signature, signed[516..900]);
    assert_eq!(theirs.q1, signed[1040..1424]);
    assert_eq!(theirs.q2, signed[1424..1808]);
    assert_eq!(<Hasher as SgxHashOps>::finish(hashed(&signed[128..512])), KEY.mrsigner());
    // A family is lost on the way into what it signs.
    let asked =
        sgx::parameters::Parameters { ext_fid: [7; 16], ext_pid: [8; 16], ..Default::default() };
    let signs = asked.body([0; 32]).parameters();
    assert_eq!((signs.ext_fid, signs.ext_pid), ([0; 16], [8; 16]));
}

fn hashed(bytes: &[u8]) -> Hasher {
    let mut hasher = <Hasher as SgxHashOps>::new();
    SgxHashOps::update(&mut hasher, bytes);
    hasher
}

#[test]
fn structures_lie_where_theirs_do() {
    use sgx_guest::key::{KeyName, KeyRequest};
    use sgx_guest::report::{Report, ReportBody, TargetInfo};
    let attributes = Attributes { flags: 0x86, xfrm: 0x0102_0304_0506_0708 };
    let abi = sgx_isa::Attributes {
        flags: AttributesFlags::from_bits(0x86).unwrap(),
        xfrm: attributes.xfrm,
    };
    let body = ReportBody {
        cpu_svn: [1; 16],
        misc_select: 1,
        cet: 2,
        ext_product: [3; 16],
        attributes,
        measurement: [4; 32],
        signer: [5; 32],
        config_id: [6; 64],
        product: 0x0708,
        svn: 0x090a,
        config_svn: 0x0b0c,
        family: [13; 16],
        data: [14; 64],
    };
    let report = Report::new(body, [15; 32], &[16; 16]);
    let theirs = sgx_isa::Report::try_copy_from(&report.to_bytes()).unwrap();
    assert_eq!(theirs.mac_data()[..], report.to_bytes()[..384]);
    let their_body = (theirs.cpusvn, theirs.isvextnprodid, theirs.mrenclave, theirs.mrsigner);
    assert_eq!(their_body, ([1; 16], [3; 16], [4; 32], [5; 32]));
    assert_eq!((theirs.cet_attributes, theirs.miscselect.bits()), (2, 1));
    assert!(
        theirs.attributes == abi && theirs.configid == [6; 64] && theirs.reportdata == [14; 64]
    );
    assert_eq!((theirs.isvprodid, theirs.isvsvn, theirs.configsvn), (0x0708, 0x090a, 0x0b0c));
    assert_eq!((theirs.isvfamilyid, theirs.keyid), ([13; 16], [15; 32]));
    assert_eq!(theirs.mac, report.mac);

    let target = TargetInfo { cet: 0, config_svn: 0, config_id: [0; 64], ..TargetInfo::of(&body) };
    let theirs = sgx_isa::Targetinfo::from(theirs);
    assert_eq!(theirs.as_ref(), target.to_bytes());

    let request = KeyRequest {
        name: KeyName::Seal,
        policy: 3,
        svn: 0x0102,
        cet_mask: 0,
        cpu_svn: [3; 16],
        attribute_mask: Attributes { flags: 4, xfrm: 5 },
        key_id: [6; 32],
        misc_mask: 7,
        config_svn: 0,
    };
    let theirs = sgx_isa::Keyrequest {
        keyname: sgx_isa::Keyname::Seal as u16,
        keypolicy: sgx_isa::Keypolicy::from_bits(3).unwrap(),
        isvsvn: 0x0102,
        cpusvn: [3; 16],
        attributemask: [4, 5],
        keyid: [6; 32],
        miscmask: 7,
        ..Default::default()
    };
    assert_eq!(theirs.as_ref(), request.to_bytes());

    let tcs = Tcs { flags: 0, ssa: 0x1000, ssa_count: 2, entry: 3, fs: 4, gs: 5 };
    let theirs = sgx_isa::Tcs {
        ossa: 0x1000,
        nssa: 2,
        oentry: 3,
        ofsbasgx: 4,
        ogsbasgx: 5,
        fslimit: !0,
        gslimit: !0,
        ..Default::default()
    };
    assert!(theirs.as_ref() == tcs.to_bytes());

    let secs =
        Secs { attributes, config_id: [0; 64], ..Secs::keep(0x10000, 0x8000, [0; 64]).unwrap() };
    let theirs = sgx_isa::Secs {
        size: 0x8000,
        baseaddr: 0x10000,
        ssaframesize: secs.frame.pages,
        miscselect: Miscselect::EXINFO,
        attributes: abi,
        ..Default::default()
    };
    assert!(theirs.as_ref() == secs.to_bytes());
}

#[test]
fn numbers_are_theirs() {
    use sgx_guest::enclu::{Encls, Enclu, ErrorCode};
    // They lack a few, and none of theirs is missing here.
    for number in 1..=256 {
        let (theirs, ours) =
            (sgx_isa::ErrorCode::try_from(number), ErrorCode::from_number(number.into()));
        assert!(theirs.is_err() || ours.is_some(), "{number}");
    }
    for number in 0..32 {
        assert!(sgx_isa::Enclu::try_from(number).is_err() || Enclu::from_number(number).is_some());
        assert!(sgx_isa::Encls::try_from(number).is_err() || Encls::from_number(number).is_some());
    }
    assert_eq!(sgx_isa::Encls::EModpr as u32, Encls::Emodpr.number());
    assert_eq!(
        sgx_isa::ErrorCode::PageAttributesMismatch as u64,
        ErrorCode::PageAttributesMismatch.number()
    );
}

/// An enclave that others made, signed and published with `sgx`: the file that its own tests use.
#[test]
fn a_published_enclave_is_taken() {
    let metadata = std::process::Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "sgx").unwrap();
    let manifest = std::path::Path::new(package["manifest_path"].as_str().unwrap());
    let file = |name| std::fs::read(manifest.with_file_name("tests").join(name)).unwrap();
    let (bytes, signature) = (file("encl.bin"), Sigstruct::from_bytes(&file("encl.ss")).unwrap());

    assert!(signature.is_well_formed());
    assert_eq!(signature.verify(), Ok(()));
    let key = SgxKey::from_pem(std::str::from_utf8(&file("encl.pem")).unwrap()).unwrap();
    assert_eq!(signature.mrsigner(), key.mrsigner());
    // A thread, and pages with all rights: no plan of a Keep's, but an enclave.
    let size = (bytes.len() as u64).next_power_of_two();
    let secs = Secs::keep(0, size, [0; 64]).unwrap();
    let mut measurer = sgx_launch::Measurer::default();
    measurer.ecreate(&secs);
    for (number, page) in bytes.chunks(4096).enumerate() {
        let offset = number as u64 * 4096;
        let info = if number == 0 { SecInfo::tcs() } else { SecInfo::reg(Rights::RWX) };
        measurer.eadd(offset, info);
        for (offset, chunk) in (offset..).step_by(256).zip(page.as_chunks().0) {
            measurer.eextend(offset, chunk);
        }
    }
    let measurement = measurer.mrenclave();
    assert_eq!(signature.enclave().measurement, measurement);
    let identity = sgx_launch::einit(&secs, &measurement, &signature, None).unwrap();
    assert_eq!(identity.signer, key.mrsigner());
    // Its signer left everything open: the reason for which it would not be launched here.
    assert_eq!(signature.enclave().attributes.1, [0; 16]);
}
