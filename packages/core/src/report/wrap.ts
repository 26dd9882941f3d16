import { eastAsianWidth } from "get-east-asian-width"

const WIDTH = 80

/** Columns of a terminal that `text` takes, once escaped: Chinese, Japanese, Korean and emoji take two a character. */
export function columnsOf(text: string): number {
  let columns = 0
  for (const char of text) columns += widthOf(char)
  return columns
}

const widthOf = (char: string): number => (/\p{M}/u.test(char) ? 0 : eastAsianWidth(char.codePointAt(0) ?? 0))

/** Cut to so many columns, with a mark that it was. */
export function shortenToColumns(text: string, columns: number): string {
  return columnsOf(text) <= columns ? text : `${text.slice(0, endOfColumns(text, columns - 1))}…`
}

/** How many UTF-16 units fit in so many columns, marks with their letter. */
function endOfColumns(text: string, columns: number): number {
  let [end, used] = [0, 0]
  for (const char of text) {
    used += widthOf(char)
    if (used > columns) break
    end += char.length
  }
  return end
}

/**
 * `label` in a column of its own, and `text` beside it, broken at spaces to `width` columns. A word that fits no line
 * beside the column (a digest) gets a line of its own, so that it can be copied; one that fits no line is broken.
 */
export function wrapBeside(label: string, text: string, column: number, width = WIDTH): string[] {
  const lines: string[] = []
  let line = label.length < column ? label.padEnd(column) : `${label}  `
  let hasWord = false
  const startLine = (indent: number) => {
    if (hasWord) lines.push(line)
    line = hasWord ? " ".repeat(indent) : line
    hasWord = false
  }
  let wasLong = false
  for (const word of text.split(" ").flatMap(part => breakWord(part, width - HANGING))) {
    const isLong = columnsOf(word) > width - column
    if (isLong && !hasWord) {
      lines.push(line)
      line = " ".repeat(HANGING)
    } else if (isLong) startLine(HANGING)
    else if (wasLong || (hasWord && columnsOf(line) + 1 + columnsOf(word) > width)) startLine(column)
    line += hasWord ? ` ${word}` : word
    hasWord = true
    wasLong = isLong
  }
  return [...lines, line].map(each => each.trimEnd())
}

const HANGING = 4

function breakWord(word: string, width: number): string[] {
  const pieces: string[] = []
  let rest = word
  while (columnsOf(rest) > width) {
    const end = endOfColumns(rest, width)
    pieces.push(rest.slice(0, end))
    rest = rest.slice(end)
  }
  return [...pieces, rest]
}
