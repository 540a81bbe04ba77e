// SPDX-License-Identifier: Apache-2.0
//! smoke
use keep_fs::*;
#[test]
fn smoke() {
    let t = Timespec::default();
    let mut fs = Fs::new(Limits { bytes: 1 << 30, inodes: 1000, file_size: 1 << 30 }, t);
    let r = fs.root();
    fs.mkdir(r, b"a", 0o755, t).unwrap();
    fs.symlink(b"a", r, b"l", t).unwrap();
    let how = OpenHow { flags: abi::O_CREAT | abi::O_RDWR, mode: 0o644, resolve: 0 };
    let mut f = fs.open(r, b"l/f", how, false, t).unwrap();
    assert_eq!(fs.write(&mut f, &vec![7; 200_000], t), Ok(200_000));
    let mut b = vec![0; 300_000];
    assert_eq!(fs.pread(&f, &mut b, 100_000), Ok(100_000));
    assert!(b[..100_000].iter().all(|b| *b == 7));
    fs.unlink(r, b"a/f", 0, t).unwrap();
    assert_eq!(fs.pread(&f, &mut b, 100_000), Ok(100_000));
    fs.close(f);
    fs.unlink(r, b"a", abi::AT_REMOVEDIR, t).unwrap();
    fs.unlink(r, b"l", 0, t).unwrap();
    assert_eq!(fs.usage(), Usage { bytes: 256, inodes: 1 });
}
