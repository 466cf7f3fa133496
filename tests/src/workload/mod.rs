//! What runs inside the test containers: a small service with a heartbeat, and a storm of files whose every path is
//! planned. The host speaks to it in JSON lines on its standard input, it answers on its standard output.
//!
//! Must never: know what the policy under test says.

mod heartbeat;
mod plan;
mod said;
mod serve;
mod storm;

pub use plan::{IMAGE_FILES, Plan, image_file};
pub use said::{Beat, Created, Said, Trickled};
pub use serve::serve;
pub use storm::storm;
