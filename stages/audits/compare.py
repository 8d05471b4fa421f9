"""All audits side by side: objectives by audit, in a table, a figure and a page."""

from inverse_rlhf.audit_stage import run_audit_stage

from inverse_rlhf.audit_params import AuditParams
from inverse_rlhf.evaluation.compare_audits import compared, read_reports, summary_of
from inverse_rlhf.files import write_csv, write_json
from inverse_rlhf.show.audit_figure import draw_audits
from inverse_rlhf.show.comparison_page import write_comparison_page


def main(params: AuditParams, name: str) -> list[str]:
    reports = read_reports("audit/results", list(params.audits))
    table = compared(reports)
    write_csv(table, "audit/objectives.csv")
    draw_audits(table, "audit/objectives.png")
    links = {audit: f"results/{audit}/report.html" for audit in reports}
    write_comparison_page("audit/report.html", reports, table, links)
    write_json(summary_of(reports), "audit/summary.json")
    lines = [f"{audit}: {report['verdict']}" for audit, report in reports.items()]
    return [*lines, "next: audit/report.html"]


if __name__ == "__main__":
    run_audit_stage(main)
