// SPDX-License-Identifier: Apache-2.0

//! Finds a function of the kernel's vDSO.
//!
//! The kernel maps a small shared object into each process and says where (`AT_SYSINFO_EHDR`, `getauxval(3)`;
//! `Documentation/ABI/stable/vdso`). Its dynamic section names symbols (ELF, System V ABI, chapters 4 and 5). It is
//! read with bounds all the same: a mistake here would be a jump into nowhere.

/// Name of the function that enters enclaves (Linux 5.11 and later).
pub(crate) const ENTER: &[u8] = b"__vdso_sgx_enter_enclave";

/// More than any vDSO has.
const MAX_SYMBOLS: u64 = 4096;

const DYNAMIC: u32 = 2;
const LOAD: u32 = 1;

/// The offset of a function in a vDSO, from its first byte.
pub(crate) fn function(object: &[u8], name: &[u8]) -> Option<u64> {
    let object = Object(object);
    // `\x7fELF`, 64 bits, little-endian; x86-64.
    if object.0.get(..6)? != b"\x7fELF\x02\x01" || object.half(18)? != 62 {
        return None;
    }
    let (headers, size, count) = (object.word(32)?, object.half(54)?, object.half(56)?);
    let header = |number: u16| headers.checked_add(u64::from(size) * u64::from(number));
    let (mut base, mut dynamic) = (None, None);
    for number in 0..count {
        let at = header(number)?;
        match object.int(at)? {
            LOAD if base.is_none() => {
                base = Some(object.word(at + 16)?.wrapping_sub(object.word(at + 8)?))
            }
            DYNAMIC => dynamic = Some((object.word(at + 8)?, object.word(at + 32)?)),
            _ => {}
        }
    }
    let (base, (dynamic, length)) = (base?, dynamic?);
    let (mut strings, mut symbols, mut hash, mut gnu_hash) = (None, None, None, None);
    for entry in (dynamic..dynamic.checked_add(length)?).step_by(16) {
        let value = object.word(entry + 8)?.wrapping_sub(base);
        match object.word(entry)? {
            0 => break,
            4 => hash = Some(value),
            5 => strings = Some(value),
            6 => symbols = Some(value),
            0x6fff_fef5 => gnu_hash = Some(value),
            _ => {}
        }
    }
    let (strings, symbols) = (strings?, symbols?);
    // How many symbols there are only the hash table says.
    let count = match (hash, gnu_hash) {
        (Some(hash), _) => object.int(hash.checked_add(4)?)?.into(),
        (None, Some(hash)) => object.count_by_gnu_hash(hash)?,
        (None, None) => return None,
    };
    (0..count.min(MAX_SYMBOLS)).find_map(|number| {
        let symbol = symbols.checked_add(24 * number)?;
        let is_named = object.text(strings.checked_add(object.int(symbol)?.into())?)? == name;
        // Of the symbol: a function (type 2), in some section.
        let info = *object.0.get(usize::try_from(symbol.checked_add(4)?).ok()?)?;
        let is_defined = info & 0xf == 2 && object.half(symbol + 6)? != 0;
        let value = object.word(symbol + 8)?.wrapping_sub(base);
        let is_inside = usize::try_from(value).is_ok_and(|value| value < object.0.len());
        (is_named && is_defined && is_inside).then_some(value)
    })
}

/// Bytes at offsets; none behind the end.
struct Object<'a>(&'a [u8]);

impl Object<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        self.0.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
    }

    fn half(&self, at: u64) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn int(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn word(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    fn text(&self, at: u64) -> Option<&[u8]> {
        self.0.get(usize::try_from(at).ok()?..)?.split(|byte| *byte == 0).next()
    }

    /// The number of symbols, by the end of the longest chain of a GNU hash table.
    fn count_by_gnu_hash(&self, at: u64) -> Option<u64> {
        let (buckets, first, bloom) =
            (self.int(at)?, self.int(at.checked_add(4)?)?, self.int(at.checked_add(8)?)?);
        let start = at.checked_add(16)?.checked_add(8 * u64::from(bloom))?;
        let mut last = 0;
        for bucket in 0..u64::from(buckets).min(MAX_SYMBOLS) {
            last = last.max(self.int(start.checked_add(4 * bucket)?)?);
        }
        if last < first {
            return Some(first.into());
        }
        let chains = start.checked_add(4 * u64::from(buckets))?;
        for number in (u64::from(last)..).take(MAX_SYMBOLS as usize) {
            let link = self.int(chains.checked_add(4 * (number - u64::from(first)))?)?;
            if link & 1 != 0 {
                return Some(number + 1);
            }
        }
        None
    }
}

/// The address of the function that enters enclaves; none if this kernel has none.
pub(crate) fn enter() -> Option<sgx_run::Enter> {
    let offset = function(mapped()?, ENTER)?;
    let address = base()?.checked_add(usize::try_from(offset).ok()?)?;
    // SAFETY: the kernel maps its vDSO for as long as the process lives, and under this name it has the function
    // with this contract (`arch/x86/include/uapi/asm/sgx.h`). `function` has found that the symbol is a function
    // within the object.
    Some(unsafe { std::mem::transmute::<usize, sgx_run::Enter>(address) })
}

fn base() -> Option<usize> {
    // SAFETY: has no preconditions.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    usize::try_from(base).ok().filter(|base| *base != 0)
}

/// The vDSO of this process.
fn mapped() -> Option<&'static [u8]> {
    let base = base()?;
    // Its pages follow each other, and `/proc` says how many they are.
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).ok());
    let length = end?.checked_sub(base).filter(|_| start == Some(base))?;
    // SAFETY: the kernel has mapped these pages readable and never changes or unmaps them.
    Some(unsafe { std::slice::from_raw_parts(base as *const u8, length) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn functions_of_this_kernel_are_found() {
        let Some(object) = mapped() else {
            println!("skipped: this process has no vDSO");
            return;
        };
        // Each x86-64 kernel has this one. It does what its name says.
        let offset = function(object, b"__vdso_getcpu").unwrap();
        let address = base().unwrap() + offset as usize;
        type GetCpu = extern "C" fn(*mut u32, *mut u32, *mut u8) -> i32;
        // SAFETY: the kernel has this function with this contract at the address.
        let get_cpu: GetCpu = unsafe { std::mem::transmute(address) };
        let (mut cpu, mut node) = (u32::MAX, u32::MAX);
        assert_eq!(get_cpu(&raw mut cpu, &raw mut node, std::ptr::null_mut()), 0);
        assert_ne!((cpu, node), (u32::MAX, u32::MAX));
        assert_eq!(function(object, b"__vdso_getcp"), None);
        match enter() {
            Some(enter) => {
                // A leaf that there is not is refused by the kernel's own code, before anything else.
                let mut run = sgx_launch::driver::EnclaveRun::new(0);
                // SAFETY: it refuses, as its contract says.
                let refused = unsafe { enter(0, 0, 0, 99, 0, 0, &raw mut run) };
                assert_eq!(refused, -libc::EINVAL);
            }
            None => println!("this kernel enters no enclaves"),
        }
    }

    proptest! {
        #[test]
        fn anything_is_survived(at in 0_usize..6000, bytes in prop::collection::vec(any::<u8>(), 1..16)) {
            let mut object = mapped().map(<[u8]>::to_vec).unwrap_or_else(|| vec![0; 64]);
            for (to, from) in object.iter_mut().skip(at % 6000).zip(&bytes) {
                *to = *from;
            }
            let _ = function(&object, ENTER);
            object.truncate(at);
            let _ = function(&object, ENTER);
        }
    }
}
