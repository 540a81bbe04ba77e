// SPDX-License-Identifier: Apache-2.0

// A person at a browser: opens the page of a device flow in Chromium without a window, logs in, approves.
//
//   node browser.mjs CHROMIUM URL CODE NAME approve|abort
//
// Prints the headings of the pages that it has seen, one a line.

import { chromium } from 'playwright-core';

const [executablePath, url, code, name, decision] = process.argv.slice(2);

// Chromium's own sandbox does not work for root.
const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
const browser = await chromium.launch({ executablePath, args });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  // The pages want fonts from elsewhere, which no test should wait for.
  await page.route((target) => target.hostname !== '127.0.0.1', (route) => route.abort());
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  let heading = '';
  for (let step = 0; step < 8; step += 1) {
    heading = (await page.locator('h1').first().innerText()).trim();
    console.log(heading);
    if (/success/i.test(heading)) break;
    if (/confirm/i.test(heading)) {
      const shown = await page.locator('code').first().innerText();
      if (shown.trim() !== code) throw new Error(`the page shows ${shown}, not ${code}`);
      if (decision === 'abort') {
        await page.locator('button[name=abort]').click();
        await page.waitForLoadState('domcontentloaded');
        break;
      }
    }
    if (await page.locator('input[name=login]').count()) {
      await page.fill('input[name=login]', name);
      await page.fill('input[name=password]', 'anything is right here');
    }
    await Promise.all([
      page.waitForNavigation({ waitUntil: 'domcontentloaded' }),
      page.locator('button[type=submit]').first().click(),
    ]);
  }
  if (decision === 'approve' && !/success/i.test(heading)) {
    throw new Error(`the last page is ${heading}`);
  }
} finally {
  await browser.close();
}
