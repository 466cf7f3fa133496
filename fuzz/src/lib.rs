//! What several fuzz targets share.

pub mod translate;

use std::cell::RefCell;

use tokio::runtime::{Builder, Runtime};

thread_local! {
    // Made once: it would cost more than what most inputs do.
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime"),
    );
}

/// Runs a future to its end. Time stands still while there is something to do, and jumps to the next timer when there
/// is not.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}
