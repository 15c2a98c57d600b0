use openclaw_gateway::{
    config::{Env, Locations},
    gateway,
};
fn main() {
    let env = Env::from_process();
    let l = Locations::from_env(&env);
    let o = gateway::options::RunOptions {
        port: Some(std::env::args().nth(1).unwrap().parse().unwrap()),
        ..Default::default()
    };
    env_logger::init();
    if let Err(e) = gateway::run(env, l, o) {
        eprintln!("{e}");
        std::process::exit(1)
    }
}
