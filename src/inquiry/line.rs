//! The way of a question to one worker, and back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;

use super::Question;

/// Questions, and answers, that can be on their way.
const UNDER_WAY: usize = 4;

/// A question on its way.
#[derive(Debug)]
pub struct Inquiry {
    /// Who asks for what: answers of older ones are not waited for any more.
    pub number: u64,
    /// What is asked, and what is answered.
    pub question: Question,
}

/// The way to one worker. One side asks, one question at a time; the worker answers.
#[derive(Debug)]
pub struct Line {
    asked: ArrayQueue<Box<Inquiry>>,
    answered: ArrayQueue<Box<Inquiry>>,
    newest: AtomicU64,
}

impl Default for Line {
    fn default() -> Self {
        Self { asked: ArrayQueue::new(UNDER_WAY), answered: ArrayQueue::new(UNDER_WAY), newest: AtomicU64::new(0) }
    }
}

impl Line {
    /// Asks; what was asked before and is not answered yet is not asked any more.
    pub fn ask(&self, inquiry: Box<Inquiry>) {
        self.newest.store(inquiry.number, Relaxed);
        while self.asked.pop().is_some() || self.answered.pop().is_some() {}
        // There is room: it was just made, and nobody else asks.
        let _ = self.asked.push(inquiry);
    }

    /// The answer to question `number`, if it is there.
    pub fn answer(&self, number: u64) -> Option<Question> {
        while let Some(inquiry) = self.answered.pop() {
            if inquiry.number == number {
                return Some(inquiry.question);
            }
        }
        None
    }

    /// The worker's side: the next question, if there is one and room for its answer.
    pub fn next(&self) -> Option<Box<Inquiry>> {
        if self.asked.is_empty() || self.answered.is_full() { None } else { self.asked.pop() }
    }

    /// The worker's side: whether somebody still waits for the answer.
    pub fn is_awaited(&self, number: u64) -> bool {
        self.newest.load(Relaxed) == number
    }

    /// The worker's side: gives a question of [`Self::next`] back.
    pub fn give_back(&self, inquiry: Box<Inquiry>) {
        // There is room: `next` has looked, and nobody else answers.
        let _ = self.answered.push(inquiry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Filter, Survey};
    use super::*;

    fn inquiry(number: u64) -> Box<Inquiry> {
        Box::new(Inquiry { number, question: Question::Survey(Survey::new(Filter::default(), None, 1, false)) })
    }

    #[test]
    fn an_answer_goes_to_its_own_question_and_older_ones_are_nobodys() {
        let line = Line::default();
        line.ask(inquiry(1));
        let late = line.next().unwrap();
        assert!(line.is_awaited(late.number) && line.next().is_none());
        line.ask(inquiry(2));
        assert!(!line.is_awaited(late.number));
        line.give_back(late);
        assert!(line.answer(2).is_none());
        line.give_back(line.next().unwrap());
        assert!(line.answer(2).is_some() && line.answer(2).is_none());
    }

    #[test]
    fn questions_that_nobody_answers_take_the_place_of_each_other() {
        let line = Line::default();
        for number in 1..100 {
            line.ask(inquiry(number));
        }
        assert_eq!(line.next().map(|inquiry| inquiry.number), Some(99));
        assert!(line.next().is_none());
    }
}
