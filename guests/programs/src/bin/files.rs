// SPDX-License-Identifier: Apache-2.0

//! Uses a file system in every way `std` has and checks each answer; the first argument is a folder
//! that may be written. Ends with 0 and `files: all good`, or says what was wrong.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

#[path = "../cabi.rs"]
mod cabi;

macro_rules! check {
    ($left:expr, $right:expr) => {
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err(format!(
                "line {}: {} is {left:?}, not {right:?}",
                line!(),
                stringify!($left)
            )
            .into());
        }
    };
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

fn names(folder: &Path) -> std::io::Result<BTreeSet<String>> {
    fs::read_dir(folder)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
}

fn reading_and_writing(root: &Path) -> Result<(), Box<dyn Error>> {
    let path = root.join("a.txt");
    fs::write(&path, "one\ntwo\n")?;
    check!(fs::read_to_string(&path)?, "one\ntwo\n");
    OpenOptions::new().append(true).open(&path)?.write_all(b"three\n")?;
    check!(fs::metadata(&path)?.len(), 14);

    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    check!(file.seek(SeekFrom::End(-6))?, 8);
    let mut rest = String::new();
    file.read_to_string(&mut rest)?;
    check!(rest, "three\n");
    file.seek(SeekFrom::Start(20))?;
    file.write_all(b"!")?;
    file.rewind()?;
    let mut all = Vec::new();
    file.read_to_end(&mut all)?;
    check!(all, b"one\ntwo\nthree\n\0\0\0\0\0\0!");
    file.set_len(3)?;
    check!(fs::read(&path)?, b"one");
    file.set_len(5)?;
    check!(fs::read(&path)?, b"one\0\0");
    file.sync_all()?;
    file.sync_data()?;

    check!(kind(File::open(root.join("missing"))), Some(ErrorKind::NotFound));
    check!(kind(File::create_new(&path)), Some(ErrorKind::AlreadyExists));
    check!(kind(fs::read(root)).is_some(), true);

    let big: Vec<u8> =
        (0..1_000_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut file = File::create(root.join("big"))?;
    for piece in big.chunks(4099) {
        file.write_all(piece)?;
    }
    drop(file);
    check!(fs::read(root.join("big"))? == big, true);
    fs::copy(root.join("big"), root.join("copy"))?;
    check!(fs::read(root.join("copy"))? == big, true);
    fs::remove_file(root.join("copy"))?;
    check!(root.join("copy").exists(), false);

    // A file that is open outlives its name.
    let mut file = OpenOptions::new().read(true).open(root.join("big"))?;
    fs::remove_file(root.join("big"))?;
    let mut again = Vec::new();
    file.read_to_end(&mut again)?;
    check!(again == big, true);
    Ok(())
}

fn names_and_folders(root: &Path) -> Result<(), Box<dyn Error>> {
    let deep = root.join("d/e/f");
    fs::create_dir_all(&deep)?;
    check!(kind(fs::create_dir(root.join("d"))), Some(ErrorKind::AlreadyExists));
    for i in 0..300 {
        fs::write(deep.join(format!("file-{i:03}")), i.to_string())?;
    }
    let all = names(&deep)?;
    check!(all.len(), 300);
    check!(all.first().map(String::as_str), Some("file-000"));
    check!(all.last().map(String::as_str), Some("file-299"));
    check!(kind(fs::remove_dir(&deep)).is_some(), true);

    fs::rename(deep.join("file-007"), root.join("d/moved"))?;
    check!(fs::read_to_string(root.join("d/moved"))?, "7");
    check!(deep.join("file-007").exists(), false);
    fs::write(root.join("d/target"), "old")?;
    fs::rename(root.join("d/moved"), root.join("d/target"))?;
    check!(fs::read_to_string(root.join("d/target"))?, "7");
    fs::rename(root.join("d/e"), root.join("d/g"))?;
    check!(names(&root.join("d/g/f"))?.len(), 299);
    check!(root.join("d/e").exists(), false);

    let strange = root.join("d/ä ö\u{1f512} name");
    fs::write(&strange, "x")?;
    check!(names(&root.join("d"))?.contains("ä ö\u{1f512} name"), true);
    check!(fs::read_to_string(&strange)?, "x");

    fs::remove_dir_all(root.join("d"))?;
    check!(root.join("d").exists(), false);
    Ok(())
}

fn metadata(root: &Path) -> Result<(), Box<dyn Error>> {
    let path = root.join("m");
    fs::write(&path, "12345")?;
    let meta = fs::metadata(&path)?;
    check!((meta.is_file(), meta.is_dir(), meta.len()), (true, false, 5));
    check!(fs::metadata(root)?.is_dir(), true);
    let now = SystemTime::now();
    let age = now.duration_since(meta.modified()?).unwrap_or_default();
    check!(age < Duration::from_secs(60), true);
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890);
    OpenOptions::new().write(true).open(&path)?.set_modified(then)?;
    check!(fs::metadata(&path)?.modified()?, then);
    fs::remove_file(path)?;
    Ok(())
}

fn nothing_outside(root: &Path) -> Result<(), Box<dyn Error>> {
    for path in ["../outside", "/etc/passwd", "../../../../etc/passwd"] {
        check!(kind(File::open(root.join(path))).is_some(), true);
    }
    Ok(())
}

fn main() {
    let Some(root) = std::env::args().nth(1) else {
        eprintln!("usage: files FOLDER");
        std::process::exit(2);
    };
    let root = Path::new(&root);
    type Part = fn(&Path) -> Result<(), Box<dyn Error>>;
    let parts: [(&str, Part); 4] = [
        ("reading and writing", reading_and_writing),
        ("names and folders", names_and_folders),
        ("metadata", metadata),
        ("nothing outside", nothing_outside),
    ];
    for (name, part) in parts {
        if let Err(e) = part(root) {
            println!("files: {name}: {e}");
            std::process::exit(1);
        }
    }
    println!("files: all good");
}
