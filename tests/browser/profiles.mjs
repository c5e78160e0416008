// Drives a real browser through development mode and its example application: `node profiles.mjs attack|honest`.
//
// DEV holds credentials.json, BROWSER the browser's program. Whatever is not as it should be ends it with an error.
// With SCREENSHOTS, a folder, pages are kept as pictures.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const dev = JSON.parse(process.env.DEV);
const application = dev.application_url;
const browser = await chromium.launch({
  executablePath: process.env.BROWSER,
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

/** A profile of its own: cookies of nobody else. */
async function profile(user) {
  const context = await browser.newContext();
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  if (user) await logIn(page, user);
  return { context, page };
}

/** At the application. */
async function logIn(page, user) {
  await page.goto(application);
  await page.fill("input[name=user]", user);
  await page.click("text=Log in >> visible=true >> nth=-1");
  await page.waitForLoadState();
  assert.match(await page.innerText("body"), new RegExp(`You are ${user}`));
}

/** A link that the application would send this user to, not followed. */
async function linkOf({ context }, path, form) {
  const answer = await context.request.post(application + path, { form, maxRedirects: 0 });
  assert.equal(answer.status(), 303);
  return answer.headers().location;
}

const text = (page) => page.innerText("body");

async function shows(page, url, status, ...words) {
  const answer = await page.goto(url);
  assert.equal(answer.status(), status, `${url}: ${await text(page)}`);
  for (const word of words) assert.match(await text(page), word);
}

async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
}

async function attack() {
  const attacker = await profile("mallory");
  const victim = await profile("victim");

  // The attacker's session link, then the attacker's connect link, and consent.
  const session = await linkOf(attacker, "connections", {});
  await shows(victim.page, session, 200, /That did not work/, /binding_mismatch/);
  await picture(victim.page, "refused-by-the-application");
  await shows(victim.page, `${dev.base_url}/connections`, 401, /You are not logged in here/);
  const connect = await linkOf(attacker, "connect", { provider: "google" });
  await shows(victim.page, connect, 200, /That did not work/, /binding_mismatch/);
  await shows(attacker.page, session, 410, /This link no longer works/);

  // The connect link alone, in a browser that knows nothing of us.
  const fresh = await profile("victim");
  const another = await linkOf(attacker, "connect", { provider: "google" });
  await shows(fresh.page, another, 200, /binding_mismatch/);

  // The provider's own address, as the attacker's browser was sent to it.
  const third = await linkOf(attacker, "connect", { provider: "google" });
  const authorize = (await attacker.context.request.get(third, { maxRedirects: 0 })).headers().location;
  assert.ok(authorize.startsWith(dev.simulator_url), authorize);
  await shows(fresh.page, authorize, 400, /Connecting did not work/);

  // And in a browser where the victim is at home.
  await fresh.page.goto(application);
  await fresh.page.click("text=Your connections");
  await fresh.page.waitForURL(`${dev.base_url}/connections`);
  const fourth = await linkOf(attacker, "connect", { provider: "google" });
  await shows(fresh.page, fourth, 400, /Connecting did not work/, /Connections of victim/);
  await picture(fresh.page, "refused-by-the-pages");

  // Where the attacker's confirmed browser would go in opens nothing here.
  const own = await linkOf(attacker, "connections", {});
  const back = (await attacker.context.request.get(own, { maxRedirects: 0 })).headers().location;
  const entrance = (await attacker.context.request.get(back, { maxRedirects: 0 })).headers().location;
  assert.ok(entrance.startsWith(`${dev.base_url}/session/`), entrance);
  await shows(victim.page, entrance, 410);
  await shows(victim.page, `${dev.base_url}/connections`, 401);
  await shows(fresh.page, `${dev.base_url}/connections`, 200, /Connections of victim/);
}

async function honest() {
  // The link that development mode prints opens the pages at once.
  const developer = await profile();
  await shows(developer.page, dev.session_url, 200, /Connections of demo-user for the application example-application/);
  assert.equal(developer.page.url(), `${dev.base_url}/connections`);
  await picture(developer.page, "connections");

  // One click to the pages, one to the provider.
  const ada = await profile("ada");
  await ada.page.click("text=Your connections");
  await ada.page.waitForURL(`${dev.base_url}/connections`);
  await ada.page.click("text=Connect Notion");
  await ada.page.waitForURL(/\/connections\?.*status=connected/);
  assert.match(await text(ada.page), /Done: your account is connected/);
  await picture(ada.page, "connected");

  // One click from the application: with our session at once, without it by a confirmation that nobody sees.
  await ada.page.goto(application);
  await ada.page.click("text=Connect google");
  await ada.page.waitForURL(/status=connected/);
  const ben = await profile("ben");
  await ben.page.click("text=Connect google");
  await ben.page.waitForURL(/status=confirmation_required/);
  assert.match(await text(ben.page), /Connected/);

  // Another user in the same browser is asked first.
  await logIn(ada.page, "cleo");
  await ada.page.click("text=Your connections");
  await ada.page.waitForURL(/\/session\/.*\/enter/);
  assert.match(await text(ada.page), /Connections of ada/);
  assert.match(await text(ada.page), /those of cleo/);
  await picture(ada.page, "who-goes-on");
  await shows(ada.page, `${dev.base_url}/connections`, 200, /Connections of ada/);
  await ada.page.goBack();
  await ada.page.click("text=Go on as cleo");
  await ada.page.waitForURL(`${dev.base_url}/connections`);
  assert.match(await text(ada.page), /Connections of cleo/);
}

try {
  await { attack, honest }[process.argv[2]]();
} finally {
  await browser.close();
}
