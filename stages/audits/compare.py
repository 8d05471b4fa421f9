"""All audits side by side: objectives by audit, in a table and a figure."""

from inverse_rlhf.audit_stage import run_audit_stage

from inverse_rlhf.audit_params import AuditParams
from inverse_rlhf.evaluation.compare_audits import compared, read_reports, summary_of
from inverse_rlhf.files import write_csv, write_json
from inverse_rlhf.show.audit_figure import draw_audits


def main(params: AuditParams, name: str) -> list[str]:
    reports = read_reports("audit/results", list(params.audits))
    table = compared(reports)
    write_csv(table, "audit/objectives.csv")
    draw_audits(table, "audit/objectives.png")
    write_json(summary_of(reports), "audit/summary.json")
    return [f"{audit}: {report['verdict']}" for audit, report in reports.items()]


if __name__ == "__main__":
    run_audit_stage(main)
