//! What a developer reads when everything runs.

use std::path::Path;

use super::demo::Credentials;

/// Prints one link to open and two lines to try.
pub(super) fn print(credentials: &Credentials, file: &Path, simulated: &[&str], real: &[&str]) {
    let Credentials {
        base_url,
        user,
        user_token,
        service_token,
        session_url,
        simulator_url,
        application_url,
        ..
    } = credentials;
    println!();
    println!("OAuth Manager, development mode");
    println!("  service      {base_url}");
    println!("  simulator    {simulator_url}   ({})", or_none(simulated));
    println!("  application  {application_url}   (an example: it signs you in as {user})");
    if !real.is_empty() {
        println!("  real         {}", real.join(", "));
    }
    println!("  credentials  {}", file.display());
    println!();
    println!("Open this link to connect accounts as {user}:");
    println!("  {session_url}");
    println!();
    println!("Try the API, as the user and as a service:");
    println!("  curl -s -H 'Authorization: Bearer {user_token}' {base_url}/api/v1/oauth/integrations");
    println!(
        "  curl -s -H 'Authorization: Bearer {service_token}' '{base_url}/api/v1/oauth/users/{user}/token?feature=google.calendar'"
    );
    println!();
    println!("Ctrl-C stops all of it.");
    println!();
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing is simulated".into()
    } else {
        names.join(", ")
    }
}
