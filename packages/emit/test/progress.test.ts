import { EvidenceError } from "@envidence/core"
import { PROGRESS_MODES, startProgress } from "@envidence/emit"
import { describe, expect, it } from "vitest"

describe.each(PROGRESS_MODES)("progress %s", mode => {
  const show = async (error: Error | null, signal = new AbortController().signal): Promise<string> => {
    let text = ""
    const world = { stderr: (more: string) => (text += more), isTerminal: false, signal }
    const work = async () => {
      if (error !== null) throw error
    }
    await startProgress(mode, world as unknown as Parameters<typeof startProgress>[1])
      .step("building", 20, work)
      .catch(() => {})
    return text
  }
  const shown = mode === "none" ? "" : expect.any(String)

  it("tells done, failed and interrupted apart", async () => {
    const interruption = new EvidenceError("interrupted", "interrupted")
    const texts = [await show(null), await show(new Error("x")), await show(interruption)]
    texts.push(await show(new EvidenceError("engine-failed", "x"), AbortSignal.abort()))
    expect(texts).toEqual([shown, shown, shown, shown])
    if (mode === "none") return
    const words = ["done", "failed", "interrupted", "interrupted"]
    for (const [index, word] of words.entries()) {
      expect(texts[index]).toContain(word)
      for (const other of words.filter(each => each !== word)) expect(texts[index]).not.toContain(other)
    }
  })
})
