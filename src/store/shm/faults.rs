//! Page faults of this process: it has one whenever it writes to a page of a file for the first time, where its mapping is
//! private. What another process writes there, a debugger perhaps, is not counted.

use super::mapping::Mapping;
use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// How many there have been. None where that is not counted, as some that run programs in a kernel's place do not.
pub(in crate::store) fn page_faults() -> Option<u64> {
    static ARE_COUNTED: OnceLock<bool> = OnceLock::new();
    ARE_COUNTED.get_or_init(|| try_one().unwrap_or(false)).then(count)?
}

/// Whether the first write to a page is counted.
fn try_one() -> io::Result<bool> {
    let map = Mapping::blank(rustix::param::page_size())?;
    let before = count();
    // SAFETY: nobody else knows of it, and it is as long as that.
    unsafe { map.copy_in(0, &[1]) };
    Ok(before.is_some() && before < count())
}

fn count() -> Option<u64> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: there is room for what is written there.
    let told = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } == 0;
    // SAFETY: the kernel has written all of it.
    let usage = told.then(|| unsafe { usage.assume_init() })?;
    u64::try_from(usage.ru_minflt.checked_add(usage.ru_majflt)?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::mapping::Sharing;
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::AsFd;

    const PAGES: usize = 16;

    #[test]
    fn a_first_write_to_a_page_is_counted_and_a_second_one_is_not() {
        let page = rustix::param::page_size();
        let file = memfd_create("pages", MemfdFlags::CLOEXEC).expect("made");
        ftruncate(&file, (PAGES * page) as u64).expect("as long as that");
        let map = Mapping::new(file.as_fd(), 0, PAGES * page, Sharing::Private).expect("mapped");
        let write = |n: usize| {
            let before = page_faults().expect("counted here");
            // SAFETY: nobody else knows of it, and it is as long as that.
            unsafe { map.copy_in(n * page, &[1]) };
            page_faults().expect("counted here") - before
        };
        // Other threads of this process have faults as well.
        assert!((0..PAGES).all(|n| write(n) > 0));
        assert!((0..10_000).any(|_| write(0) == 0));
    }
}
