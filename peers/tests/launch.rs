// SPDX-License-Identifier: Apache-2.0

//! Launch digests and save areas against those of two other programs: the `sev` crate, and Python's
//! `sev-snp-measure` where `cargo xtask servers` has installed it.

#[path = "../../crates/snp-launch/tests/snp_launch/image.rs"]
mod image;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keep_image::Image;
use launch_keys::{IdBlock, IdSigners, SevKey, check_id_auth, id_auth, sign_id_key};
use sev::measurement::snp::{SnpMeasurementArgs, calc_snp_ovmf_hash, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};
use sev::parser::ByteParser;
use snp_launch::{LaunchDigest, Options, PageType, Plan, Segment, Update, Vmsa};

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The interpreter that has `sev-snp-measure`; none with a printed reason.
fn python() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let python = cache.or(home)?.join("enarx-dev/sev-snp-measure/bin/python");
    if python.is_file() {
        return Some(python);
    }
    println!("skipped: no {}; run `cargo xtask servers`", python.display());
    None
}

/// What `sev-snp-measure` is to do.
#[derive(Default)]
struct Work {
    list: String,
    content: Vec<u8>,
    files: Vec<(String, Vec<u8>)>,
}

impl Work {
    fn line(&mut self, line: &str) {
        self.list += line;
        self.list.push('\n');
    }

    /// A digest over these parts.
    fn digest<'a>(&mut self, parts: impl Iterator<Item = (u64, Update<'a>)>) {
        self.line("digest");
        for (address, update) in parts {
            let kind = match update.page_type() {
                PageType::Normal => "normal",
                PageType::Vmsa => "vmsa",
                PageType::Zero => "zero",
                PageType::Unmeasured => "unmeasured",
                PageType::Secrets => "secrets",
                PageType::Cpuid => "cpuid",
            };
            self.line(&format!("{kind} {address} {}", update.length()));
            match update {
                Update::Normal(bytes) => self.content.extend_from_slice(bytes),
                Update::Vmsa(page) => self.content.extend_from_slice(page),
                _ => {}
            }
        }
        self.line("end");
    }

    /// One line for each piece of work; none if the program is not there.
    fn run(&self) -> Option<Vec<String>> {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("list"), &self.list).unwrap();
        std::fs::write(folder.path().join("content"), &self.content).unwrap();
        for (name, bytes) in &self.files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sev_snp_measure.py");
        let out = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Some(String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect())
    }
}

/// Images by hand, and the real ones if `ENARX_KEEP_PROGRAMS` has them.
fn images() -> Vec<(String, Vec<u8>)> {
    let mut images = vec![("simple".to_owned(), image::simple())];
    let mut numbers = Numbers(1);
    for number in 0..6 {
        let end = image::INFO_PHYS + (2 << 20) * (1 + number % 3);
        let mut pieces = Vec::new();
        for at in (keep_layout::IMAGE_PHYS..end).step_by(4096) {
            if at == image::INFO_PHYS || numbers.below(40) != 0 {
                continue;
            }
            let zero = numbers.below(3) == 0;
            let bytes = if zero { vec![0; 4096] } else { numbers.bytes(4096) };
            let kind = if at < image::INFO_PHYS { 1 } else { 2 };
            pieces.push((at, kind, bytes));
        }
        images.push((format!("random {number}"), image::encode(pieces, end, 2 + number)));
    }
    match std::env::var_os("ENARX_KEEP_PROGRAMS").map(PathBuf::from) {
        Some(folder) => {
            let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
            for name in ["keep-runtime", "keep-compiler"] {
                let image = Image::build(&read("keep-kernel"), &read(name)).unwrap();
                images.push((name.to_owned(), image.encode()));
            }
        }
        None => println!("skipped: the real images; set ENARX_KEEP_PROGRAMS to a folder with them"),
    }
    images
}

#[test]
fn sev_snp_measure_gives_the_same_digest_for_our_images() {
    let mut work = Work::default();
    let mut ours = Vec::new();
    for (name, bytes) in images() {
        let image = Image::decode(&bytes).unwrap();
        for options in [
            Options::default(),
            Options { processors: 3, ..Options::default() },
            Options { c_bit: 47, ..Options::default() },
        ] {
            let plan = Plan::new(&image, options).unwrap();
            work.digest(plan.parts());
            let digest = plan.digest().unwrap();
            if options == Options::default() {
                println!("{name}: {:?}", digest.size());
            }
            ours.push((name.clone(), hex(&digest.value())));
        }
    }
    let Some(theirs) = work.run() else { return };
    assert_eq!(theirs.len(), ours.len());
    for ((name, ours), theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn sev_snp_measure_gives_the_same_digest_for_any_pages() {
    let mut numbers = Numbers(2);
    let mut work = Work::default();
    let mut ours = Vec::new();
    for _ in 0..40 {
        let contents: Vec<Vec<u8>> = (0..8)
            .map(|_| {
                let pages = 1 + numbers.below(3) as usize;
                numbers.bytes(4096 * pages)
            })
            .collect();
        let parts: Vec<_> = contents
            .iter()
            .map(|bytes| {
                let address = numbers.below(1 << 40) << 12;
                let update = match numbers.below(6) {
                    0 => Update::Zero(4096 * (1 + numbers.below(9))),
                    1 => Update::Unmeasured(bytes),
                    2 => Update::Secrets,
                    3 => Update::Cpuid,
                    4 => Update::Vmsa(bytes.first_chunk().unwrap()),
                    _ => Update::Normal(bytes),
                };
                (address, update)
            })
            .collect();
        work.digest(parts.iter().copied());
        let mut digest = LaunchDigest::default();
        for (address, update) in &parts {
            digest.update(*address, update).unwrap();
        }
        ours.push(hex(&digest.value()));
    }
    let Some(theirs) = work.run() else { return };
    assert_eq!(ours, theirs);
}

/// A segment for a list of fields.
fn segment(name: &str, segment: &Segment) -> String {
    let Segment { selector, attributes, limit, base } = segment;
    format!("{name} {selector} {attributes} {limit} {base}")
}

#[test]
fn sev_snp_measure_has_each_field_of_a_save_area_where_we_have_it() {
    let mut work = Work::default();
    work.line("fields");
    let bytes = image::simple();
    let plan = Plan::new(&Image::decode(&bytes).unwrap(), Options::default()).unwrap();
    let start = plan.vmsas()[0];
    let segments = [
        ("es", &start.es),
        ("cs", &start.cs),
        ("ss", &start.ss),
        ("ds", &start.ds),
        ("fs", &start.fs),
        ("gs", &start.gs),
        ("gdtr", &start.gdtr),
        ("idtr", &start.idtr),
        ("ldtr", &start.ldtr),
        ("tr", &start.tr),
    ];
    let mut fields: Vec<String> = segments.iter().map(|(name, at)| segment(name, at)).collect();
    for (name, value) in [
        ("cpl", start.cpl.into()),
        ("efer", start.efer),
        ("cr0", start.cr0),
        ("cr3", start.cr3),
        ("cr4", start.cr4),
        ("dr6", start.dr6),
        ("dr7", start.dr7),
        ("rflags", start.rflags),
        ("rip", start.rip),
        ("rdi", start.rdi),
        ("star", start.star),
        ("lstar", start.lstar),
        ("sfmask", start.sfmask),
        ("g_pat", start.g_pat),
        ("sev_features", start.sev_features),
        ("xcr0", start.xcr0),
        ("mxcsr", start.mxcsr.into()),
        ("x87_fcw", start.x87_fcw.into()),
    ] {
        fields.push(format!("{name} {value}"));
    }
    work.line(&format!("area {}", fields.join(";")));
    work.line("reset 4294967280 1 10489617");
    let Some(theirs) = work.run() else { return };

    // Offset and size of each; the one name that differs is the Programmer's Manual's.
    for (name, offset, size) in Vmsa::FIELDS {
        let name = if *name == "dbgctl" { "dbgctrl" } else { name };
        let field = format!("{name}:{offset}:{size}");
        assert!(theirs[0].split(' ').any(|theirs| theirs == field), "{field}");
    }
    let mut page = [0; 4096];
    start.write(&mut page);
    assert_eq!(hex(&page), theirs[1]);
    // What QEMU starts a processor with, made of our fields.
    reset(0xffff_fff0).write(&mut page);
    assert_eq!(hex(&page), theirs[2]);
}

/// A Milan, as `CPUID` function 1 has it in `EAX`.
const MILAN: u64 = 0x00a0_0f11;

/// What QEMU starts a processor with, at the reset vector or where firmware wants it.
fn reset(eip: u64) -> Vmsa {
    let segment = |attributes| Segment { attributes, limit: 0xffff, ..Segment::default() };
    let data = segment(0x93);
    Vmsa {
        es: data,
        cs: Segment { selector: 0xf000, base: eip & 0xffff_0000, ..segment(0x9b) },
        ss: data,
        ds: data,
        fs: data,
        gs: data,
        gdtr: segment(0),
        idtr: segment(0),
        ldtr: segment(0x82),
        tr: segment(0x8b),
        cr4: 0x40,
        cr0: 0x10,
        rip: eip & 0xffff,
        rdx: MILAN,
        ..Vmsa::reset()
    }
}

/// Firmware in the form of EDK2's: random pages with a table at the end that names sections of
/// memory to launch, and where further processors start.
struct Firmware {
    file: Vec<u8>,
    sections: Vec<(u32, u32, u32)>,
    eip: u64,
}

impl Firmware {
    fn random(numbers: &mut Numbers) -> Self {
        let size = 4096 * (2 + numbers.below(6) as usize);
        let mut file = numbers.bytes(size);
        let mut sections = Vec::new();
        for _ in 0..numbers.below(8) {
            let kind = 1 + numbers.below(3) as u32;
            let pages = if kind == 1 { 1 + numbers.below(20) as u32 } else { 1 };
            sections.push((numbers.below(1 << 18) as u32 * 4096, pages * 4096, kind));
        }
        let eip = 0x80_0000 + numbers.below(1 << 16);

        let mut metadata = b"ASEV".to_vec();
        let length = 16 + 12 * sections.len() as u32;
        for word in [length, 1, sections.len() as u32] {
            metadata.extend(word.to_le_bytes());
        }
        for (address, size, kind) in &sections {
            [address, size, kind].iter().for_each(|word| metadata.extend(word.to_le_bytes()));
        }
        let metadata_end = 1024;
        let at = size - metadata_end;
        file[at..at + metadata.len()].copy_from_slice(&metadata);

        // Entries have their head behind them: length with the head, GUID.
        let mut table = Vec::new();
        let mut entry = |data: &[u8], guid: u128| {
            table.extend_from_slice(data);
            table.extend((data.len() as u16 + 18).to_le_bytes());
            table.extend(little_guid(guid));
        };
        entry(&(metadata_end as u32).to_le_bytes(), 0xdc886566_984a_4798_a75e_5585a7bf67cc);
        entry(&(eip as u32).to_le_bytes(), 0x00f771de_1a7e_4fcb_890e_68c77e2fb44e);
        let length = table.len() as u16 + 18;
        table.extend(length.to_le_bytes());
        table.extend(little_guid(0x96b582de_1fb2_45f7_baea_a366c55a082d));
        let at = size - 32 - table.len();
        file[at..at + table.len()].copy_from_slice(&table);
        Self { file, sections, eip }
    }

    fn digest(&self, cpus: u32) -> LaunchDigest {
        let mut digest = LaunchDigest::default();
        let base = (1 << 32) - self.file.len() as u64;
        digest.update(base, &Update::Normal(&self.file)).unwrap();
        for (address, size, kind) in &self.sections {
            let update = match kind {
                1 => Update::Zero((*size).into()),
                2 => Update::Secrets,
                _ => Update::Cpuid,
            };
            digest.update((*address).into(), &update).unwrap();
        }
        for cpu in 0..cpus {
            let mut page = [0; 4096];
            reset(if cpu == 0 { 0xffff_fff0 } else { self.eip }).write(&mut page);
            digest.update(0, &Update::Vmsa(&page)).unwrap();
        }
        digest
    }
}

/// A GUID as it lies in memory: its first three numbers are little-endian.
fn little_guid(guid: u128) -> [u8; 16] {
    let mut bytes = guid.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

#[test]
fn both_programs_give_the_same_digest_for_firmware() {
    let mut numbers = Numbers(3);
    let mut work = Work::default();
    let mut ours = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    for number in 0..20 {
        let firmware = Firmware::random(&mut numbers);
        let cpus = 1 + numbers.below(4) as u32;
        let digest = hex(&firmware.digest(cpus).value());

        let name = format!("firmware-{number}");
        let path = folder.path().join(&name);
        std::fs::write(&path, &firmware.file).unwrap();
        let mut only = LaunchDigest::default();
        let base = (1 << 32) - firmware.file.len() as u64;
        only.update(base, &Update::Normal(&firmware.file)).unwrap();
        let theirs = calc_snp_ovmf_hash(path.clone()).unwrap();
        assert_eq!(hex(&theirs.to_bytes().unwrap()), hex(&only.value()));
        let theirs = snp_calc_launch_digest(SnpMeasurementArgs {
            vcpus: cpus,
            vcpu_type: CpuType::EpycMilan,
            ovmf_file: path,
            guest_features: GuestFeatures(1),
            kernel_file: None,
            initrd_file: None,
            append: None,
            ovmf_hash_str: None,
            vmm_type: Some(VMMType::QEMU),
        })
        .unwrap();
        assert_eq!(theirs.get_hex_ld(), digest);

        work.line(&format!("firmware {name} {cpus} {MILAN} 1"));
        work.files.push((name, firmware.file));
        ours.push(digest);
    }
    let Some(theirs) = work.run() else { return };
    assert_eq!(ours, theirs);
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn sev_snp_measure_signs_what_we_take_in_the_form_that_we_sign() {
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let mut work = Work::default();
    for (name, key) in [("author.pem", &author), ("id.pem", &id)] {
        work.files.push((name.into(), key.to_pem().unwrap().as_bytes().to_vec()));
    }
    let measurement: [u8; 48] = *Numbers(4).bytes(48).first_chunk().unwrap();
    work.line(&format!("id {} id.pem author.pem", hex(&measurement)));
    let Some(theirs) = work.run() else { return };
    let parts: Vec<Vec<u8>> = theirs[0].split(' ').map(unhex).collect();
    let [block, auth, id_digest, author_digest] = &parts[..] else { panic!("{theirs:?}") };

    let ours = IdBlock { measurement, family: [0; 16], image: [0; 16], svn: 0, policy: 0x30000 };
    assert_eq!(ours.to_bytes(), *block);
    assert_eq!(IdBlock::from_bytes(block).as_ref(), Ok(&ours));
    assert_eq!((&id.digest()[..], &author.digest()[..]), (&id_digest[..], &author_digest[..]));
    let signers = IdSigners { id_key: id.digest(), author_key: Some(author.digest()) };
    assert_eq!(check_id_auth(&ours, auth), Ok(signers));
    // All but the signatures, which differ each time.
    let mut again = id_auth(&ours, &id, &sign_id_key(&author, &id).unwrap()).unwrap();
    for signature in [0x40..0x40 + 144, 0x680..0x680 + 144] {
        again[signature.clone()].copy_from_slice(&auth[signature]);
    }
    assert_eq!(again, *auth);
}
