// SPDX-License-Identifier: MIT
// The command line program: see README.md or `q2l --help`.
#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

#include "q2l/bench_command.hpp"
#include "q2l/convert_command.hpp"
#include "q2l/default_model.hpp"
#include "q2l/error_report.hpp"
#include "q2l/eval_command.hpp"
#include "q2l/exit_code.hpp"
#include "q2l/info_command.hpp"
#include "q2l/interrupt.hpp"
#include "q2l/message.hpp"
#include "q2l/options.hpp"
#include "q2l/processor_check.hpp"
#include "q2l/standard_descriptors.hpp"
#include "q2l/tag_command.hpp"
#include "q2l/version_number.hpp"
#include "query2label/core/error.hpp"

namespace {

using q2l::command::CommandLine;
using q2l::command::ExitCode;

int fail(ExitCode code, std::string_view message) {
  if (!message.empty()) q2l::command::say(message);
  return static_cast<int>(code);
}

int run(int count, char** arguments) {
  const CommandLine line = q2l::command::parse_command_line(
      count, arguments, q2l::command::default_model(Q2L_INSTALLED_MODEL, Q2L_BUNDLED_MODEL),
      "q2l " + q2l::command::version_number());
  int status = static_cast<int>(ExitCode::done);
  switch (line.action) {
    case CommandLine::Action::tag:
      status = q2l::command::run_tag(line.tag);
      break;
    case CommandLine::Action::info:
      q2l::command::run_info(line.info, line.measure);
      break;
    case CommandLine::Action::convert:
      q2l::command::run_convert(line.convert);
      break;
    case CommandLine::Action::eval:
      status = q2l::command::run_eval(line.eval);
      break;
    case CommandLine::Action::bench:
      if (line.bench.error) {
        q2l::command::report_errors(line.bench);
      } else {
        q2l::command::run_bench(line.bench);
      }
      break;
    case CommandLine::Action::print:
      std::fputs(line.text.c_str(), stdout);
      break;
  }
  if (std::fflush(stdout) == 0) return status;
  // Who reads a pipe may leave; that needs no message.
  return fail(ExitCode::output, errno == EPIPE ? ""
                                               : "standard output: cannot write: " +
                                                     std::generic_category().message(errno));
}

}  // namespace

int main(int count, char** arguments) {
  q2l::command::occupy_closed_descriptors();
  q2l::command::fail_writes_without_signals();
  try {
    return run(count, arguments);
  } catch (const q2l::command::Failure& failure) {
    return fail(failure.code(), failure.what());
  } catch (const q2l::Error& error) {
    return fail(error.code() == q2l::ErrorCode::output_io ? ExitCode::output : ExitCode::model,
                error.what());
  } catch (const std::bad_alloc&) {
    return fail(ExitCode::model, "not enough memory");
  } catch (const std::exception& error) {
    return fail(ExitCode::model, error.what());
  }
}
