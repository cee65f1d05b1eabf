//! Asks the workers and gathers their answers, for the API.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::inquiry::{Inquiry, Line, Question};

/// How often it is looked for an answer. A worker looks for questions once a millisecond.
const LOOK: Duration = Duration::from_millis(2);

/// How long an answer is awaited. To look through the largest tables takes some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Workers have not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker} has not answered for {} seconds: it hangs, or its table is very large", PATIENCE.as_secs())]
pub struct Unanswered {
    /// The first that has not.
    pub worker: usize,
}

/// The one who asks all workers, one question after the other.
#[derive(Debug)]
pub struct Inquirer {
    lines: Vec<Arc<Line>>,
    /// The number of the last question.
    number: Mutex<u64>,
}

impl Inquirer {
    /// Asks by these ways, one to each worker in their order.
    pub fn new(lines: Vec<Arc<Line>>) -> Self {
        Self { lines, number: Mutex::new(0) }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.lines.len()
    }

    /// Asks each worker what `question` makes, and returns the questions with their answers, in the workers' order. When
    /// nobody waits for this any more, workers soon stop to work on it.
    ///
    /// # Errors
    ///
    /// [`Unanswered`].
    pub async fn ask(&self, question: impl Fn() -> Question) -> Result<Vec<Question>, Unanswered> {
        let mut number = self.number.lock().await;
        *number += 1;
        let number = *number;
        for line in &self.lines {
            line.ask(Box::new(Inquiry { number, question: question() }));
        }
        let late = Instant::now() + PATIENCE;
        let mut answers = Vec::with_capacity(self.lines.len());
        for (worker, line) in self.lines.iter().enumerate() {
            let answer = loop {
                if let Some(answer) = line.answer(number) {
                    break answer;
                }
                if Instant::now() >= late {
                    return Err(Unanswered { worker });
                }
                sleep(LOOK).await;
            };
            answers.push(answer);
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowKey, Protocol};
    use crate::inquiry::Outlook;

    fn question() -> Question {
        let nobody = [0; 4].into();
        let flow = FlowKey { src: nobody, dst: nobody, src_port: 1, dst_port: 2, protocol: Protocol::Tcp };
        Question::Explain { flow, outlook: Outlook::Unasked }
    }

    #[test]
    fn the_answers_are_in_the_order_of_the_workers_and_one_that_hangs_is_named() {
        let lines: Vec<Arc<Line>> = (0..2).map(|_| Arc::default()).collect();
        let inquirer = Inquirer::new(lines.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let asked = tokio::join!(inquirer.ask(question), async {
                sleep(LOOK).await;
                for line in lines.iter().rev() {
                    let mut inquiry = line.next().unwrap();
                    let Question::Explain { outlook, .. } = &mut inquiry.question else { panic!() };
                    *outlook = Outlook::NoService;
                    line.give_back(inquiry);
                }
            });
            let answers = asked.0.unwrap();
            assert!(matches!(answers[..], [Question::Explain { outlook: Outlook::NoService, .. }, _]), "{answers:?}");
            let half = tokio::join!(inquirer.ask(question), async {
                sleep(LOOK).await;
                lines[0].give_back(lines[0].next().unwrap());
            });
            assert_eq!(half.0.unwrap_err(), Unanswered { worker: 1 });
        });
    }
}
