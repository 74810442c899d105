// An OpenID provider for tests: node provider.mjs MODULE PORT CLIENT SECRET REDIRECT. Everybody who types a name is that one.
const [module, port, client_id, client_secret, redirect_uri] = process.argv.slice(2)
const { default: Provider } = await import(module)

const account = (_context, id) => ({
  accountId: id,
  claims: () => ({ sub: id, preferred_username: id.split("@")[0], email: id, email_verified: id.startsWith("alice") }),
})
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id, client_secret, redirect_uris: [redirect_uri], response_types: ["code"], grant_types: ["authorization_code"] }],
  claims: { openid: ["sub"], profile: ["preferred_username"], email: ["email", "email_verified"] },
  cookies: { keys: ["of a test"] },
  features: { devInteractions: { enabled: true } },
  findAccount: account,
})
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"))
