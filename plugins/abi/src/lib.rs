//! The C ABI between ghnas and its plugins: layouts, constants and status codes, nothing else.
//! `docs/abi.md` describes what each call means; change both together, with [`MINOR`] or [`MAJOR`].
//!
//! Rules that hold everywhere:
//! - Every table starts with its size. A reader takes a field only where the size covers it, and
//!   takes zeros otherwise; tables grow at their end, in units of eight bytes.
//! - [`Bytes`] are lent for the length of a call. [`OwnedBytes`] carry their own release function.
//! - Messages are JSON in UTF-8. Tensors are row-major f32, parameter after parameter, each
//!   starting at a multiple of [`PARAMETER_ALIGNMENT`] bytes in a buffer that the host owns.
//! - No call unwinds. A plugin that fails says so by [`Status`] and bytes.

#![no_std]

use core::ffi::{c_char, c_void};

/// The first bytes of [`Header`].
pub const MAGIC: [u8; 8] = *b"ghnas\0pl";

/// Changes where an old plugin would be misread; host and plugin must agree.
pub const MAJOR: u16 = 1;

/// Changes where fields or methods are added.
pub const MINOR: u16 = 2;

/// The name of the exported [`Header`]; with the zero that C wants.
pub const HEADER_SYMBOL: &[u8] = b"ghnas_plugin_header_v1\0";

/// The name of the exported [`EntryFunction`]; with the zero that C wants.
pub const ENTRY_SYMBOL: &[u8] = b"ghnas_plugin_entry_v1\0";

/// Parameters and gradients start at multiples of this many bytes.
pub const PARAMETER_ALIGNMENT: usize = 64;

/// Ids of interfaces; the list that a plugin gives is the list of what it can do.
pub mod interface {
    /// Samples, checks and lowers architectures.
    pub const SEARCH_SPACE: &str = "ghnas.search-space/1";
    /// Mutates and crosses architectures; works on instances of [`SEARCH_SPACE`].
    pub const EVOLVE: &str = "ghnas.search-space.evolve/1";
    /// Lists all architectures; works on instances of [`SEARCH_SPACE`].
    pub const ENUMERATE: &str = "ghnas.search-space.enumerate/1";
    /// Proposes candidates.
    pub const SEARCHER: &str = "ghnas.searcher/1";
    /// Turns graphs into schedules.
    pub const PROPAGATOR: &str = "ghnas.propagator/1";
    /// Makes the weights of networks.
    pub const WEIGHT_GENERATOR: &str = "ghnas.weight-generator/1";
    /// Expands to primitives.
    pub const OPERATION: &str = "ghnas.operation/1";
}

/// What came of a call.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Done; the response holds the result.
    pub const OK: Self = Self(0);
    /// Refused; the response says why, in words for the user.
    pub const ERROR: Self = Self(1);
    /// The interface has no such method.
    pub const UNKNOWN_METHOD: Self = Self(2);
    /// The request is not what the method takes; the response says where.
    pub const MALFORMED: Self = Self(3);
    /// The plugin panicked; the response holds its words. The instance must not be used again.
    pub const PANIC: Self = Self(4);
}

/// Bytes that are lent for the length of a call; `data` may be null where `len` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub len: usize,
}

impl Bytes {
    /// No bytes.
    pub const EMPTY: Self = Self { data: core::ptr::null(), len: 0 };

    /// Lends a slice; whoever gets it must not keep it beyond the call.
    pub const fn of(slice: &[u8]) -> Self {
        Self { data: slice.as_ptr(), len: slice.len() }
    }
}

// SAFETY: plain data; what it points at is only read.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

/// Bytes that are handed over. Whoever receives them calls `release` once, where it is not null;
/// that frees them and leaves no bytes and no `release` behind.
#[repr(C)]
#[derive(Debug)]
pub struct OwnedBytes {
    /// The first byte.
    pub data: *mut u8,
    /// How many there are.
    pub len: usize,
    /// For the owner's use.
    pub capacity: usize,
    /// Frees the bytes.
    pub release: Option<unsafe extern "C" fn(bytes: *mut OwnedBytes)>,
}

impl OwnedBytes {
    /// No bytes, nothing to release.
    pub const EMPTY: Self =
        Self { data: core::ptr::null_mut(), len: 0, capacity: 0, release: None };
}

/// What a plugin exports as `ghnas_plugin_header_v1`: read before anything is called.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The [`MAJOR`] that the plugin was built for.
    pub major: u16,
    /// The [`MINOR`] that the plugin was built for.
    pub minor: u16,
    /// Bytes of this struct.
    pub size: u32,
    /// None are defined.
    pub flags: u64,
    /// The plugin's id, UTF-8.
    pub id: Bytes,
    /// The plugin's own version, UTF-8.
    pub version: Bytes,
    /// What it was built with, for people; never compared.
    pub compiler: Bytes,
}

/// The least size of a [`Header`]: everything before `id`.
pub const LEAST_HEADER_SIZE: usize = core::mem::offset_of!(Header, id);

/// What the host offers to a plugin, or to one instance.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Bytes of this struct.
    pub size: u32,
    /// The host's [`MAJOR`] and [`MINOR`], for plugins that can do with less.
    pub major: u16,
    /// See `major`.
    pub minor: u16,
    /// How many threads the plugin may use.
    pub threads: u64,
    /// Goes first into `call`.
    pub context: *mut c_void,
    /// Calls the host: see "What a plugin may ask" in `docs/abi.md`. Null outside instances. Valid
    /// from `create` to the end of `destroy`, from any thread.
    pub call: Option<HostCall>,
}

// SAFETY: the ABI lets plugins call the host from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// A call from a plugin to the host.
pub type HostCall = unsafe extern "C" fn(
    context: *mut c_void,
    method: Bytes,
    request: Bytes,
    response: *mut OwnedBytes,
) -> Status;

/// The exported `ghnas_plugin_entry_v1`, called once. Writes `plugin`, or fills `error`.
pub type EntryFunction = unsafe extern "C" fn(
    host: *const Host,
    plugin: *mut *const Plugin,
    error: *mut OwnedBytes,
) -> Status;

/// All that a plugin offers; lives as long as the process, as everything behind it does.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// Bytes of this struct.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// `interface_count` pointers.
    pub interfaces: *const *const Interface,
    /// How many there are.
    pub interface_count: usize,
}

/// Calls on one instance may come from several threads at a time. Otherwise the host makes one
/// call at a time, from any thread.
pub const SHAREABLE: u32 = 1;

/// Calls on an instance, `create` and `destroy` included, come from one thread.
pub const THREAD_BOUND: u32 = 2;

/// One interface, with the entries that it offers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Interface {
    /// Bytes of this struct.
    pub size: u32,
    /// [`SHAREABLE`] or [`THREAD_BOUND`].
    pub flags: u32,
    /// One of [`interface`], UTF-8.
    pub id: Bytes,
    /// JSON: `[{"id", "summary", "presets": [{"name", "settings"}]}]`.
    pub entries: Bytes,
    /// Makes an instance from JSON `{"entry", "settings", "seed", "threads", "device"}`. `host`
    /// lives until `destroy` has returned. Null for [`interface::EVOLVE`] and
    /// [`interface::ENUMERATE`].
    pub create: Option<
        unsafe extern "C" fn(
            host: *const Host,
            request: Bytes,
            instance: *mut *mut c_void,
            error: *mut OwnedBytes,
        ) -> Status,
    >,
    /// Ends an instance. Not called after [`Status::PANIC`].
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// Calls a method of an instance.
    pub call: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            method: Bytes,
            request: Bytes,
            response: *mut OwnedBytes,
        ) -> Status,
    >,
    /// Weight generators only: writes the weights of a plan. With a null `ticket` nothing is kept;
    /// otherwise `ticket` gets the name of this generation.
    pub generate: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            plan: u64,
            ticket: *mut u64,
            weights: *mut f32,
            len: usize,
            error: *mut OwnedBytes,
        ) -> Status,
    >,
    /// Weight generators only: adds the vector-Jacobian product of `gradients` and uses the ticket
    /// up.
    pub vjp: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            ticket: u64,
            gradients: *const f32,
            len: usize,
            error: *mut OwnedBytes,
        ) -> Status,
    >,
}

// SAFETY: tables are constant and live as long as the process.
unsafe impl Sync for Header {}
// SAFETY: as above.
unsafe impl Sync for Interface {}
// SAFETY: as above.
unsafe impl Send for Interface {}

/// Copies a table that may be shorter than this build's, or longer: fields that `size` does not
/// cover are zeros.
///
/// # Safety
/// `table` points at `size` readable bytes, and all zeros are a valid `T` whose fields are valid
/// for any bytes that the other side may have written.
pub unsafe fn read_table<T: Copy>(table: *const T, size: usize) -> T {
    // In units of eight bytes, so that no pointer is cut in two.
    let covered = size.min(size_of::<T>()) & !7;
    let mut copy = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: `covered` is at most the size of both, by the caller's promise and by `min`.
    unsafe {
        core::ptr::copy_nonoverlapping(
            table.cast::<c_char>(),
            copy.as_mut_ptr().cast::<c_char>(),
            covered,
        );
        copy.assume_init()
    }
}
