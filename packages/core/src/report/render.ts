import { escapeJson } from "./escape.js"
import { renderMarkdown } from "./markdown.js"
import type { Report } from "./report.js"
import { renderText } from "./text.js"

const renderers = {
  text: renderText,
  json: (report: Report) => `${escapeJson(JSON.stringify(report, null, 2))}\n`,
  markdown: renderMarkdown,
} as const satisfies Record<string, (report: Report) => string>

export type ReportFormat = keyof typeof renderers

export const reportFormats = Object.keys(renderers) as readonly ReportFormat[]

export const renderReport = (report: Report, format: ReportFormat): string => renderers[format](report)
