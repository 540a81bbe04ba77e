// SPDX-License-Identifier: Apache-2.0

// An issuer that is not ours: npm's oidc-provider with the device flow, client credentials, and access
// tokens that are JSON Web Tokens for whatever audience is asked for.
//
// The audience's name begins with the algorithm that signs its tokens: https://es256.example/ and so on;
// tokens for others are signed with RS256, unless it is told otherwise.
// It listens on the loopback interface, prints {"issuer": URL} and then obeys lines on stdin:
//   sign ALG     sign tokens for other audiences with this algorithm
//   rotate       new keys; the former are still published
//   withdraw     new keys; the former are gone
// Each is answered by {"done": LINE}. It ends with its stdin.

import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const SCOPES = [
  'manage:drawbridge_repositories', 'manage:drawbridge_tags', 'manage:drawbridge_users',
];
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

const KINDS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  ES384: ['ec', { namedCurve: 'P-384' }],
  EdDSA: ['ed25519', {}],
};

const newKeys = () => Object.entries(KINDS).map(([alg, [kind, options]]) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
  alg,
  use: 'sig',
  kid: randomBytes(8).toString('hex'),
}));

function algorithm(audience) {
  const name = new URL(audience).hostname.split('.')[0];
  return Object.keys(KINDS).find((alg) => alg.toLowerCase() === name) ?? otherwise;
}

let keys = newKeys();
let former = [];
let otherwise = 'RS256';
let handle;

const server = createServer((request, response) => handle(request, response));
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

function start() {
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'enarx',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: [DEVICE, 'refresh_token'],
        response_types: [],
        redirect_uris: [],
      },
      {
        client_id: 'ci',
        client_secret: 'a secret with : and %',
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
      },
    ],
    scopes: ['openid', 'offline_access', 'profile', ...SCOPES],
    claims: { openid: ['sub'], profile: ['name'] },
    jwks: { keys: [...keys, ...former] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: SCOPES.join(' '),
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: algorithm(resource) } },
        }),
      },
    },
  });
  handle = provider.callback();
}

start();
console.log(JSON.stringify({ issuer }));

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'rotate' || line === 'withdraw') {
    former = line === 'rotate' ? keys : [];
    keys = newKeys();
    start();
  }
  if (line.startsWith('sign ')) otherwise = line.slice(5);
  console.log(JSON.stringify({ done: line }));
}
process.exit(0);
