//! A person in front of a provider's consent page, who ticks what they like.

use super::{Browser, Service, browser::End};

/// A consent page, and the browser it is shown in.
pub struct ConsentPage {
    browser: Browser,
    url: String,
    /// The boxes that can be unticked.
    pub listed: Vec<String>,
}

impl ConsentPage {
    /// Opens one of our links in a browser with the user's session, up to the provider's page.
    pub async fn open(service: &Service, user: &str, link: &str) -> Self {
        Self::open_in(service.browser_of(user).await, link).await
    }

    /// The same in this browser.
    pub async fn open_in(mut browser: Browser, link: &str) -> Self {
        let end = browser.open(link).await;
        Self::of(browser, end)
    }

    /// The page that this browser shows.
    pub fn of(browser: Browser, end: End) -> Self {
        assert_eq!(end.status, 200, "no page: {end:?}");
        let mut listed: Vec<String> = end
            .body
            .split("name=\"scope\" value=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect();
        listed.sort();
        Self {
            browser,
            url: end.url.into(),
            listed,
        }
    }

    /// Allows what is listed and ends in `…`, and nothing else.
    pub async fn tick(self, endings: &[&str]) -> (Browser, End) {
        let ticked = |scope: &&String| endings.iter().any(|end| scope.ends_with(end));
        let ticked: Vec<String> = self.listed.iter().filter(ticked).cloned().collect();
        let mut fields = vec![("decision", "allow")];
        fields.extend(ticked.iter().map(|scope| ("scope", scope.as_str())));
        self.send(&fields).await
    }

    /// Allows all that is listed.
    pub async fn allow(self) -> (Browser, End) {
        self.tick(&[""]).await
    }

    /// Allows all that is listed, as this account.
    pub async fn allow_as(self, account: &str) -> (Browser, End) {
        let listed = self.listed.clone();
        let mut fields = vec![("decision", "allow"), ("_sim_user", account)];
        fields.extend(listed.iter().map(|scope| ("scope", scope.as_str())));
        self.send(&fields).await
    }

    /// Says no.
    pub async fn deny(self) -> (Browser, End) {
        self.send(&[("decision", "deny")]).await
    }

    async fn send(mut self, fields: &[(&str, &str)]) -> (Browser, End) {
        let end = self.browser.submit(&self.url, fields).await;
        (self.browser, end)
    }
}
