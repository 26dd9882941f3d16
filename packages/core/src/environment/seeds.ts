import { encodeUtf8 } from "../encoding.js"

const MOST = 64
const RANGE = 10_000

/**
 * The seeds to play, in order: small integers, as a trainer's are, so that an environment cannot tell a validator by
 * them. They follow from the challenge, so that nobody chooses them: seed i is the first 32 bits of
 * SHA-256("envidence-seeds/1" ‖ 0 ‖ challenge ‖ 0 ‖ i) modulo 10,000, skipping repeats. No challenge is the empty text.
 */
export async function deriveSeeds(challenge: string | null, count = MOST): Promise<number[]> {
  const seeds = new Set<number>()
  for (let i = 0; seeds.size < Math.min(count, MOST); i++) {
    const text = encodeUtf8(`envidence-seeds/1\0${challenge ?? ""}\0${i}`)
    const hash = new DataView(await crypto.subtle.digest("SHA-256", text))
    seeds.add(hash.getUint32(0) % RANGE)
  }
  return [...seeds]
}
