import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { findCredentials } from "../src/credentials.js"
import { refusal, temporaryFolder } from "./layers.js"

const SECRET = "s3cret:with-colon"
const auth = (user: string) => ({ auth: Buffer.from(`${user}:${SECRET}`).toString("base64") })

/** A home with these files; what the tests' own user has plays no part. */
function home(files: Readonly<Record<string, unknown>>): Record<string, string> {
  const folder = temporaryFolder()
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name)
    mkdirSync(join(path, ".."), { recursive: true })
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content))
  }
  return { HOME: folder, XDG_RUNTIME_DIR: join(folder, "run") }
}

const DOCKER = ".docker/config.json"
const PODMAN = "run/containers/auth.json"
const userOf = async (host: string, repository: string, env: Record<string, string>) => {
  const { credentials } = await findCredentials(host, repository, env)
  return credentials === null || "identityToken" in credentials ? credentials : credentials.user
}

describe("are found", () => {
  it("where docker keeps them, by host and by its old addresses", async () => {
    const auths = { "ghcr.io": auth("a"), "https://index.docker.io/v1/": auth("b"), "https://quay.io": auth("c") }
    const env = home({ [DOCKER]: { auths } })
    expect(await findCredentials("ghcr.io", "x/y", env)).toEqual({
      credentials: { user: "a", password: SECRET },
      helper: null,
    })
    expect(await userOf("docker.io", "library/x", env)).toBe("b")
    expect(await userOf("quay.io", "x", env)).toBe("c")
    expect(await userOf("example.com", "x", env)).toBeNull()
    expect(await userOf("io", "x", env)).toBeNull()
  })
  it("where podman keeps them, the most specific first", async () => {
    const auths = { "ghcr.io": auth("host"), "ghcr.io/a": auth("space"), "ghcr.io/a/b": auth("image") }
    const env = home({ [PODMAN]: { auths }, [DOCKER]: { auths: { "ghcr.io": auth("docker") } } })
    for (const [repository, user] of [
      ["a/b", "image"],
      ["a/c", "space"],
      ["a/b/c", "image"],
      ["ab", "host"],
    ] as const)
      expect([repository, await userOf("ghcr.io", repository, env)]).toEqual([repository, user])
  })
  it("in the file that is named, and then elsewhere", async () => {
    const env = home({ named: { auths: { "a.io": auth("named") } }, [DOCKER]: { auths: { "b.io": auth("docker") } } })
    const named = { ...env, REGISTRY_AUTH_FILE: join(env.HOME ?? "", "named") }
    expect(await userOf("a.io", "x", named)).toBe("named")
    expect(await userOf("b.io", "x", named)).toBe("docker")
    const elsewhere = { ...env, DOCKER_CONFIG: join(env.HOME ?? "", "none") }
    expect(await userOf("b.io", "x", elsewhere)).toBeNull()
  })
  it("as a refresh token, or as two fields", async () => {
    const auths = { "a.io": { identitytoken: "t" }, "b.io": { username: "u", password: "p" } }
    const env = home({ [DOCKER]: { auths } })
    expect((await findCredentials("a.io", "x", env)).credentials).toEqual({ identityToken: "t" })
    expect((await findCredentials("b.io", "x", env)).credentials).toEqual({ user: "u", password: "p" })
  })
})

describe("kept by a helper", () => {
  it("are not found, and the helper is named, never started", async () => {
    const env = home({
      [DOCKER]: { auths: { "a.io": {} }, credsStore: "desktop", credHelpers: { "b.io": "ecr-login" } },
    })
    expect(await findCredentials("a.io", "x", env)).toEqual({ credentials: null, helper: "desktop" })
    expect(await findCredentials("b.io", "x", env)).toEqual({ credentials: null, helper: "ecr-login" })
  })
})

describe("a file that is none", () => {
  const files: [string, unknown][] = [
    ["no JSON", `{"auths": {"a.io": {"auth": "${SECRET}"`],
    ["a list", [SECRET]],
    ["auths of another kind", { auths: SECRET }],
    ["an entry of another kind", { auths: { "a.io": SECRET } }],
    [
      "an auth without a user",
      { auths: { "a.io": { auth: Buffer.from(SECRET.replaceAll(":", "")).toString("base64") } } },
    ],
  ]
  it.each(files)("%s is refused without what it holds", async (_, content) => {
    const error = await refusal(findCredentials("a.io", "x", home({ [DOCKER]: content })))
    expect(error.code).toBe("usage")
    expect(`${error.message} ${error.hint} ${String(error.cause)}`).not.toContain("s3cret")
  })
  it("or is named and not there", async () => {
    const error = await refusal(findCredentials("a.io", "x", { ...home({}), REGISTRY_AUTH_FILE: "/nonexistent" }))
    expect(error.code).toBe("usage")
  })
  it("or is larger than any, and not named: as if it were not there", async () => {
    expect(await userOf("a.io", "x", home({ [DOCKER]: " ".repeat(2_000_000) }))).toBeNull()
  })
})
