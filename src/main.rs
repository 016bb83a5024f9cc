//! The program: calls the library's command line and turns the outcome into an exit code.

fn main() -> std::process::ExitCode {
    copal::cli::run(std::env::args_os().collect()).into()
}
